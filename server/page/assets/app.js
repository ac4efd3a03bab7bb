// The page: tabs for the tasks of the loaded models, the language, the colours, and the key.

import { apiKey, call, clear, keepKey, note, showProblem } from "./api.js";
import { el, remember } from "./dom.js";
import { forecastPanel } from "./forecast.js";
import { generationPanel } from "./generation.js";
import { current, first, label, say, speak } from "./language.js";
import { sentimentPanel } from "./sentiment.js";
import { strip } from "./strip.js";
import { taggingPanel } from "./tagging.js";
import { translationPanel } from "./translation.js";

const PANELS = {
  generation: generationPanel,
  translation: translationPanel,
  sentiment: sentimentPanel,
  tagging: taggingPanel,
  forecast: forecastPanel,
};
const AGAIN = 3000; // milliseconds until a server that does not answer is asked again

const main = document.querySelector("main");
const tabs = document.querySelector("#tabs");
const problem = note();
const keyForm = keyField();
main.before(problem, keyForm);
let timer = 0;
let isBuilt = false;

speak(first());
switches();
say(document.querySelector("#tagline"), "tagline");
label(tabs, "tasks");
document.querySelector("header").after(strip());
document.addEventListener("keyneeded", () => {
  keyForm.hidden = false;
});
begin();

/** Ask what is served, until there is an answer. */
async function begin() {
  clearTimeout(timer);
  try {
    const { data } = await call("GET", "v1/models");
    clear(problem);
    keyForm.hidden = true;
    if (!isBuilt) build(data);
  } catch (error) {
    showProblem(problem, error);
    if (error.status !== 401) timer = setTimeout(begin, (error.retryAfter ?? 0) * 1000 || AGAIN);
  }
}

function build(models) {
  isBuilt = true;
  const tasks = Object.keys(PANELS).filter((task) => models.some((model) => model.task === task));
  if (tasks.length === 0) {
    main.append(say(el("p", { class: "card" }), "noTask"));
    return;
  }
  for (const task of tasks) {
    tabs.append(
      say(
        el("button", {
          type: "button",
          role: "tab",
          id: `tab-${task}`,
          "aria-controls": `panel-${task}`,
          onclick: () => choose(task),
          onkeydown: (event) => moved(event, tasks, task),
        }),
        `task_${task}`,
      ),
    );
    main.append(
      el("section", { role: "tabpanel", id: `panel-${task}`, "aria-labelledby": `tab-${task}`, hidden: true }),
    );
  }
  const wanted = location.hash.slice(1);
  choose(tasks.includes(wanted) ? wanted : tasks[0], false);
  window.addEventListener("hashchange", () => {
    const task = location.hash.slice(1);
    if (tasks.includes(task)) choose(task);
  });

  function choose(task, isAsked = true) {
    for (const other of tasks) {
      const isChosen = other === task;
      const tab = document.querySelector(`#tab-${other}`);
      tab.setAttribute("aria-selected", String(isChosen));
      tab.tabIndex = isChosen ? 0 : -1;
      document.querySelector(`#panel-${other}`).hidden = !isChosen;
    }
    const panel = document.querySelector(`#panel-${task}`);
    if (panel.childElementCount === 0) panel.append(PANELS[task](models.filter((model) => model.task === task)));
    if (isAsked) history.replaceState(null, "", `#${task}`);
  }

  function moved(event, all, task) {
    const at = all.indexOf(task);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const wantedTask = all[(next + all.length) % all.length];
    choose(wantedTask);
    document.querySelector(`#tab-${wantedTask}`).focus();
  }
}

/** The buttons for language and colours. */
function switches() {
  const root = document.documentElement;
  const isDark = () =>
    (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const language = el("button", {
    type: "button",
    id: "language",
    onclick: () => speak(current() === "en" ? "zh" : "en"),
  });
  const theme = el(
    "button",
    {
      type: "button",
      id: "theme",
      onclick() {
        root.dataset.theme = isDark() ? "light" : "dark";
        remember("theme", root.dataset.theme);
      },
    },
    el("span", { "aria-hidden": "true" }, "◐"),
  );
  say(language, "otherLanguage");
  label(theme, "theme");
  label(theme, "theme", {}, "title");
  const docs = say(el("a", { href: "docs" }), "docs");
  document.querySelector("#switches").append(docs, language, theme);
}

/** The field for an API key; shown when the server asks for one. */
function keyField() {
  const input = el("input", { type: "password", id: "key", autocomplete: "off" });
  const form = el(
    "form",
    {
      class: "card keyform",
      hidden: true,
      onsubmit(event) {
        event.preventDefault();
        if (!input.value.trim()) return;
        keepKey(input.value.trim());
        form.hidden = true;
        begin();
      },
    },
    el("label", { class: "field" }, say(el("span"), "key"), input),
    say(el("button", { class: "primary" }), "useKey"),
    say(el("p", { class: "hint" }), "keyHint"),
  );
  if (apiKey() !== null) input.value = apiKey();
  return form;
}
