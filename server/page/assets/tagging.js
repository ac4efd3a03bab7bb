// Tagging: each word with its label, in the label's colour.

import { Problem, call, clear, note, showProblem } from "./api.js";
import { codeBox } from "./code.js";
import { field, modelPicker } from "./controls.js";
import { debounced, el } from "./dom.js";
import { label, say } from "./language.js";

const EXAMPLES = ["Anna can't read the can's label.", "In 1905 Einstein published four papers that changed physics."];
const GOLDEN_ANGLE = 137.5; // degrees from one label's colour to the next: far apart, however many there are

/** The panel of the task. */
export function taggingPanel(models) {
  const choice = modelPicker(models);
  const picker = choice.select;
  const text = label(el("textarea", { id: "tagging-text", rows: 4 }), "taggingHint", {}, "placeholder");
  const problem = note();
  const shown = el("p", { class: "tagged", "aria-live": "polite" });
  const legend = el("ul", { class: "legend" });
  const spans = el("div", {});
  const code = codeBox();
  let controller = null;
  text.addEventListener("input", debounced(250, ask));
  picker.addEventListener("change", ask);
  const enter = (example) => {
    text.value = example;
    ask();
  };

  async function ask() {
    controller?.abort();
    clear(problem);
    controller = new AbortController();
    const mine = controller;
    const body = { model: picker.value, text: text.value };
    try {
      if (!body.text.trim()) throw new Problem("textEmpty");
      const answer = await call("POST", "v1/tag", body, mine.signal);
      if (mine !== controller) return;
      show(body.text, answer.results[0]);
      code.show({ path: "v1/tag", body });
    } catch (error) {
      if (mine !== controller) return;
      for (const part of [shown, legend, spans]) part.replaceChildren();
      code.hide();
      showProblem(problem, error);
    }
  }

  function show(whole, { tokens = [], spans: found = [] }) {
    const labels = models.find((model) => model.id === picker.value).labels ?? [];
    const kinds = [...new Set(labels.map(kindOf))].filter((kind) => kind !== "O");
    const coloured = (element, name) => {
      element.style.setProperty("--hue", (kinds.indexOf(kindOf(name)) * GOLDEN_ANGLE) % 360);
      return element;
    };
    const characters = Array.from(whole); // offsets count characters, not UTF-16 units
    const slice = (start, end) => characters.slice(start, end).join("");
    const pieces = [];
    let at = 0;
    for (const token of tokens) {
      pieces.push(slice(at, token.start), tagged(slice(token.start, token.end), token, coloured));
      at = token.end;
    }
    shown.replaceChildren(...pieces, slice(at));
    const seen = kinds.filter((kind) => tokens.some((token) => kindOf(token.label) === kind));
    legend.replaceChildren(
      ...seen.map((kind) => coloured(el("li", { class: "tag" }, kind, " ", count(tokens, kind)), kind)),
    );
    spans.replaceChildren(
      ...(found.length ? [say(el("h3"), "spans")] : []),
      ...found.map((span) =>
        el("p", { class: "span" }, coloured(el("b", { class: "tag" }, span.label), span.label), ` ${span.text}`),
      ),
    );
  }

  enter(EXAMPLES[0]);
  return el(
    "div",
    { class: "columns" },
    el(
      "section",
      { class: "card controls" },
      choice.element,
      field("text", text),
      el(
        "div",
        { class: "chips" },
        ...EXAMPLES.map((example) =>
          el("button", { type: "button", class: "chip", onclick: () => enter(example) }, example),
        ),
      ),
    ),
    el("section", { class: "card output" }, problem, shown, legend, spans, code.element),
  );
}

const kindOf = (name) => name.replace(/^[BI]-/, "");
const count = (tokens, kind) => el("small", {}, String(tokens.filter((token) => kindOf(token.label) === kind).length));

function tagged(text, token, coloured) {
  if (token.label === "O") return el("span", {}, text);
  const title = `${token.label} ${(100 * token.score).toFixed(1)} %`;
  const attributes = { class: "tag", tabindex: 0, title, "aria-label": `${text}: ${title}`, "data-label": token.label };
  return coloured(el("span", attributes, text, el("sub", {}, token.label)), token.label);
}
