// What the panels have in common: labelled fields, sliders, and the choice of a model.

import { el } from "./dom.js";
import { say } from "./language.js";

/** A label and its control. */
export function field(key, control) {
  return el("label", { class: "field" }, say(el("span"), key), control);
}

/** A box to tick. */
export function check(box, key) {
  return el("label", { class: "check" }, box, say(el("span"), key));
}

/** A button that says `key`. */
export function action(key, press, kind = "") {
  return say(el("button", { type: "button", class: kind, "data-action": key, onclick: press }), key);
}

/** A slider with its value beside its name; `value()` reads it. */
export function slider(key, min, max, step, value, shown = String) {
  const input = el("input", { type: "range", min, max, step, value, id: `slider-${key}` });
  const output = el("output", {}, shown(value));
  input.addEventListener("input", () => {
    output.textContent = shown(Number(input.value));
    input.setAttribute("aria-valuetext", output.textContent);
  });
  const element = el("label", { class: "field slider" }, el("span", {}, say(el("span"), key), " ", output), input);
  return { element, value: () => Number(input.value) };
}

/**
 * The task's models, to choose one where there are several, and what runs the chosen one.
 * @returns {{select: HTMLSelectElement, element: HTMLElement}}
 */
export function modelPicker(models) {
  const select = el("select", {}, ...models.map((model) => new Option(model.id, model.id)));
  const facts = el("p", { class: "model" });
  const element = el("div", {}, models.length > 1 ? field("model", select) : null, facts);
  select.addEventListener("change", tell);
  tell();

  function tell() {
    const { id, version, languages, precision, backend } = models.find((model) => model.id === select.value);
    const pair = languages ? `${languages.source} → ${languages.target}` : null;
    facts.textContent = [`${id}/${version}`, pair, precision, backend].filter(Boolean).join(" · ");
  }

  return {
    select,
    element,
    /** Choose a model by its name. */
    choose(id) {
      select.value = id;
      tell();
    },
  };
}
