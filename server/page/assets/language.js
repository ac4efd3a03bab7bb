// What the page says, in the chosen language. Elements keep the key of their text, so that all change at once.

import { remember, remembered } from "./dom.js";
import { WORDS } from "./words.js";

const values = new WeakMap(); // of an element: what is filled into its texts
let language = "en";

/** "en" or "zh". */
export const current = () => language;

/**
 * A text in the chosen language.
 * @param {string} key - of words.js
 * @param {Object} filling - what stands for {name} in it; numbers are written as the language writes them, and a
 *   function gives what is in the chosen language itself.
 */
export function words(key, filling = {}) {
  const text = WORDS[language][key] ?? WORDS.en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => shown(filling[name]));
}

function shown(value) {
  if (typeof value === "function") return value();
  return typeof value === "number" ? new Intl.NumberFormat(language).format(value) : String(value ?? "");
}

/** Let an element say this, now and after a change of language. */
export function say(element, key, filling = {}) {
  element.dataset.t = key;
  values.set(element, { ...values.get(element), text: filling });
  element.textContent = words(key, filling);
  return element;
}

/** The same for attributes: aria-label, placeholder, title. */
export function label(element, key, filling = {}, attribute = "aria-label") {
  const name = `t${attribute.replace(/-/g, "")}`;
  element.dataset[name] = `${attribute} ${key}`;
  values.set(element, { ...values.get(element), [name]: filling });
  element.setAttribute(attribute, words(key, filling));
  return element;
}

/** Say everything on the page in this language, and remember it. */
export function speak(chosen) {
  language = chosen;
  remember("language", chosen);
  document.documentElement.lang = chosen === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("*")) {
    const known = values.get(element) ?? {};
    for (const [name, value] of Object.entries(element.dataset ?? {})) {
      if (name === "t") {
        element.textContent = words(value, known.text);
      } else if (name.startsWith("t") && value.includes(" ")) {
        const [attribute, key] = value.split(" ");
        element.setAttribute(attribute, words(key, known[name]));
      }
    }
  }
  document.dispatchEvent(new Event("language"));
}

/** The language to begin with: the one chosen last, else the browser's. */
export function first() {
  const chosen = remembered("language");
  if (chosen === "en" || chosen === "zh") return chosen;
  return navigator.languages.some((tag) => tag.toLowerCase().startsWith("zh")) &&
    !navigator.languages[0].toLowerCase().startsWith("en")
    ? "zh"
    : "en";
}
