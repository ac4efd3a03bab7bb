// Translation: the text, its scores, and which words the model looked at.

import { Problem, call, clear, note, showProblem } from "./api.js";
import { codeBox } from "./code.js";
import { field, modelPicker } from "./controls.js";
import { debounced, el, svg } from "./dom.js";
import { label, say } from "./language.js";

const EXAMPLES = {
  en: ["Where is the station?", "This is too expensive!", "He bought a new car yesterday."],
  zh: ["车站在哪里？", "太贵了！"],
  de: ["Wo ist der Bahnhof?", "Das ist zu teuer!"],
  fr: ["Où est la gare ?", "C'est trop cher !"],
};
const END = "<eos>";
const BROKEN = "\ufffd"; // stands for a part of a character
const SHOWN_WEIGHT = 0.06; // below it no line is drawn
const WORD = /^[\p{L}\p{N}'’]+$/u;
const HAN = /\p{Script=Han}|\p{Script=Hiragana}|\p{Script=Katakana}/u;

/** The panel of the task. */
export function translationPanel(models) {
  const choice = modelPicker(models);
  const picker = choice.select;
  const text = label(el("textarea", { id: "translation-text", rows: 4 }), "translateHint", {}, "placeholder");
  const beam = el(
    "select",
    { id: "beam" },
    ...[1, 2, 4, 8].map((size) => new Option(size, size, size === 4, size === 4)),
  );
  const button = say(
    el("button", { type: "button", class: "primary", "data-action": "translate", onclick: ask }),
    "translate",
  );
  const examples = el("div", { class: "chips" });
  const problem = note();
  const result = el("div", { class: "result", "aria-live": "polite" });
  const attention = el("div", { class: "attentions" });
  const code = codeBox();
  let controller = null;
  const soon = debounced(500, ask);

  const model = () => models.find((found) => found.id === picker.value);
  text.addEventListener("input", soon);
  beam.addEventListener("change", ask);
  picker.addEventListener("change", () => {
    offered();
    ask();
  });
  offered();

  function offered() {
    const found = EXAMPLES[model().languages?.source] ?? [];
    examples.replaceChildren(
      ...found.map((example) =>
        el("button", { type: "button", class: "chip", onclick: () => enter(example) }, example),
      ),
    );
  }

  function enter(example) {
    text.value = example;
    ask();
  }

  async function ask() {
    controller?.abort();
    clear(problem);
    controller = new AbortController();
    const mine = controller;
    const size = Number(beam.value);
    const body = {
      model: picker.value,
      text: text.value,
      beam_size: size,
      alternatives: Math.min(3, size - 1),
      alignment: true,
    };
    try {
      if (!body.text.trim()) throw new Problem("textEmpty");
      const answer = await asked(body, mine.signal);
      if (mine !== controller) return;
      show(answer);
      code.show({ path: "v1/translate", body });
    } catch (error) {
      if (mine !== controller) return;
      for (const part of [result, attention]) part.replaceChildren();
      code.hide();
      showProblem(problem, error);
    }
  }

  function show(answer) {
    const best = answer.translations[0];
    const detected = best.detected_language ?? answer.detected_language;
    result.replaceChildren(
      el("p", { class: "translated", lang: answer.target }, best.text),
      el(
        "p",
        { class: "facts" },
        best.score === null ? null : say(el("span"), "score", { score: best.score }),
        detected ? say(el("span"), "detected", { language: detected.language ?? detected }) : null,
        best.finish_reason === "length" ? say(el("span", { class: "warn" }), "cutOff") : null,
      ),
      ...(best.warnings ?? []).map((warning) => el("p", { class: "warning" }, `⚠ ${warning.message ?? warning}`)),
    );
    if (best.alternatives?.length) {
      result.append(
        say(el("h3"), "alternatives"),
        el("ol", { class: "alternatives" }, ...best.alternatives.map((other) => alternative(other, answer.target))),
      );
    }
    const found = [best.alignment ?? []].flat().flatMap(sentencesOf);
    attention.replaceChildren(
      ...(found.length ? [say(el("h3"), "attention"), say(el("p", { class: "hint" }), "attentionHint")] : []),
    );
    const [source, target] = [
      { text: text.value, at: 0 },
      { text: best.text, at: 0 },
    ];
    for (const alignment of found) {
      const view = attentionView(
        wordsOf(alignment.source_tokens, source),
        wordsOf(alignment.target_tokens, target),
        alignment.weights,
      );
      attention.append(view.element);
      view.draw();
    }
  }

  if (examples.firstChild) examples.firstChild.click();
  return el(
    "div",
    { class: "columns" },
    el(
      "section",
      { class: "card controls" },
      choice.element,
      field("text", text),
      examples,
      el("div", { class: "row" }, field("beam", beam), button),
    ),
    el("section", { class: "card output" }, problem, result, attention, code.element),
  );
}

function alternative(other, language) {
  return el(
    "li",
    {},
    el("span", { lang: language }, other.text),
    " ",
    say(el("small"), "score", { score: other.score }),
  );
}

/** The answer; from a server that gives the attention of whole texts alone, without it. */
async function asked(body, signal) {
  try {
    return await call("POST", "v1/translate", body, signal);
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 422 || !/alignment/.test(error.message)) throw error;
    delete body.alignment;
    return call("POST", "v1/translate", body, signal);
  }
}

/** One alignment of several sentences as one of each: every sentence ends with the end token, on both sides. */
function sentencesOf({ source_tokens: sources, target_tokens: targets, weights }) {
  const ends = (tokens) => tokens.flatMap((token, i) => (token === END ? [i + 1] : []));
  const [ofSources, ofTargets] = [ends(sources), ends(targets)];
  if (sources.length === 0) return [];
  if (ofSources.length !== ofTargets.length) return [{ source_tokens: sources, target_tokens: targets, weights }];
  return ofSources.map((to, i) => {
    const [from, begin, end] = [ofSources[i - 1] ?? 0, ofTargets[i - 1] ?? 0, ofTargets[i]];
    return {
      source_tokens: sources.slice(from, to),
      target_tokens: targets.slice(begin, end),
      weights: weights.slice(begin, end).map((row) => row.slice(from, to)),
    };
  });
}

/**
 * Tokens as words: pieces of a word that is written with letters belong together, and so do those of one character.
 * @param {string[]} tokens
 * @param {{text: string, at: number}} whole - the text that they are of, and how far it is used up
 * @returns {{text: string, indices: number[]}[]}
 */
export function wordsOf(tokens, whole) {
  const found = [];
  tokens.forEach((token, i) => {
    if (token.includes(BROKEN)) {
      if (found.at(-1)?.text.includes(BROKEN)) found.at(-1).indices.push(i);
      else found.push({ text: BROKEN, indices: [i] });
      return;
    }
    const last = found.at(-1);
    if (token === END) {
      if (last?.text === BROKEN) last.text = Array.from(whole.text.slice(whole.at))[0] ?? BROKEN;
      found.push({ text: END, indices: [i] });
      return;
    }
    const at = whole.text.indexOf(token, whole.at);
    if (at >= 0) {
      if (last?.text === BROKEN && at > whole.at) last.text = whole.text.slice(whole.at, at);
      whole.at = at + token.length;
    }
    const joins = last && WORD.test(token) && WORD.test(last.text.at(-1)) && !HAN.test(token) && !HAN.test(last.text);
    if (joins) {
      last.text += token;
      last.indices.push(i);
    } else {
      found.push({ text: token, indices: [i] });
    }
  });
  return found;
}

const shownOf = (word) => (word.text === END ? "∎" : word.text.trim() || "␣");

/** Two lines of words and what each of the lower one attends to in the upper one, as lines between them. */
function attentionView(sources, targets, weights) {
  /** Summed over the pieces of a source word, the mean over those of a target word. */
  const share = (target, source) =>
    target.indices.reduce(
      (sum, t) => sum + source.indices.reduce((inner, s) => inner + (weights[t]?.[s] ?? 0), 0) / target.indices.length,
      0,
    );
  const table = targets.map((target) => sources.map((source) => share(target, source)));
  const chip = (word, kind, index) =>
    el(
      "span",
      {
        class: `word ${kind}${word.text === END ? " end" : ""}`,
        tabindex: 0,
        onmouseenter: () => point(kind, index),
        onmouseleave: () => point(null, 0),
        onfocus: () => point(kind, index),
        onblur: () => point(null, 0),
      },
      shownOf(word),
    );
  const upper = sources.map((word, i) => chip(word, "source", i));
  const lower = targets.map((word, i) => chip(word, "target", i));
  const lines = svg("svg", { class: "lines", "aria-hidden": "true" });
  const strongest = el("p", { class: "strongest", role: "status" });
  const element = el(
    "div",
    { class: "attention" },
    el("div", { class: "words" }, ...upper),
    el("div", { class: "gap" }),
    el("div", { class: "words" }, ...lower),
    lines,
    strongest,
  );

  function draw() {
    const frame = element.getBoundingClientRect();
    lines.setAttribute("viewBox", `0 0 ${frame.width} ${frame.height}`);
    const paths = [];
    table.forEach((row, t) =>
      row.forEach((weight, s) => {
        if (weight < SHOWN_WEIGHT) return;
        const [a, b] = [upper[s].getBoundingClientRect(), lower[t].getBoundingClientRect()];
        const [x1, y1] = [a.left + a.width / 2 - frame.left, a.bottom - frame.top];
        const [x2, y2] = [b.left + b.width / 2 - frame.left, b.top - frame.top];
        const middle = (y1 + y2) / 2;
        const path = svg("path", {
          d: `M${x1} ${y1}C${x1} ${middle} ${x2} ${middle} ${x2} ${y2}`,
          "data-s": s,
          "data-t-word": t,
        });
        path.style.opacity = weight;
        path.style.strokeWidth = 1 + 5 * weight;
        paths.push(path);
      }),
    );
    lines.replaceChildren(...paths);
  }

  /** Let one word's weights be seen alone. */
  function point(kind, index) {
    element.classList.toggle("pointing", kind !== null);
    upper.forEach((item, s) =>
      lit(item, kind === "target" ? table[index][s] : Number(kind === "source" && s === index)),
    );
    lower.forEach((item, t) =>
      lit(item, kind === "source" ? table[t][index] : Number(kind === "target" && t === index)),
    );
    for (const path of lines.children) {
      const isOf = kind === "target" ? path.dataset.tWord === String(index) : path.dataset.s === String(index);
      path.classList.toggle("lit", kind !== null && isOf);
    }
    if (kind === "target") {
      const best = table[index]
        .map((weight, s) => [weight, s])
        .sort((a, b) => b[0] - a[0])
        .slice(0, 3);
      const shown = best
        .filter(([weight]) => weight >= 0.01)
        .map(([weight, s]) => `${shownOf(sources[s])} ${(100 * weight).toFixed(0)} %`);
      strongest.textContent = `${shownOf(targets[index])} ← ${shown.join(", ")}`;
    } else if (kind === null) {
      strongest.textContent = "";
    }
  }

  const lit = (item, weight) => item.style.setProperty("--weight", Math.min(weight, 1).toFixed(3));
  new ResizeObserver(draw).observe(element);
  return { element, draw };
}
