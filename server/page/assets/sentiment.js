// Sentiment while typing, with the words that moved it: each word is left out once, all in one request.

import { Problem, call, clear, note, showProblem } from "./api.js";
import { codeBox } from "./code.js";
import { field, modelPicker } from "./controls.js";
import { debounced, el } from "./dom.js";
import { current, label, say, words as said } from "./language.js";

const MOST_WORDS = 255; // left out in one request, beside the whole text
const MOST_CHARACTERS = 400_000; // of all texts of a request together
const NUM_MOVERS = 6; // words that are listed
const EXAMPLES = {
  en: [
    "The first half is slow, but the acting is superb and the ending moved me to tears.",
    "A waste of two hours: no plot, no jokes, and a dreadful score.",
  ],
  zh: ["味道很好，送餐也快，就是包装差了点。", "等了两个小时才送到，菜都凉了。"],
};

/** The panel of the task. */
export function sentimentPanel(models) {
  const choice = modelPicker(models);
  const picker = choice.select;
  const text = label(el("textarea", { id: "sentiment-text", rows: 5 }), "sentimentHint", {}, "placeholder");
  const examples = el("div", { class: "chips" });
  const problem = note();
  const verdict = el("div", { class: "verdict", "aria-live": "polite" });
  const shown = el("p", { class: "moved" });
  const movers = el("ul", { class: "legend" });
  const explained = el("p", { class: "hint", hidden: true });
  const cut = el("p", { class: "warning", hidden: true });
  const code = codeBox();
  let controller = null;
  text.addEventListener("input", debounced(250, ask));
  let isChosen = false; // the model, by the person
  picker.addEventListener("change", () => {
    isChosen = true;
    ask();
  });
  for (const example of [...EXAMPLES.en.slice(0, 2), ...(hasChinese(models) ? EXAMPLES.zh : [])]) {
    examples.append(el("button", { type: "button", class: "chip", onclick: () => enter(example) }, shortened(example)));
  }

  function enter(example) {
    isChosen = false;
    text.value = example;
    ask();
  }

  /** Until a model was chosen: the one whose name says that it reads the text's language, where there is one. */
  function fit() {
    const isChinese = /\p{Script=Han}/u.test(text.value);
    const fitting = models.find((model) => isOfChinese(model) === isChinese);
    if (!isChosen && fitting) choice.choose(fitting.id);
  }

  async function ask() {
    controller?.abort();
    clear(problem);
    if (text.value.trim()) fit();
    controller = new AbortController();
    const mine = controller;
    const whole = text.value;
    const words = segments(whole);
    const most = Math.min(MOST_WORDS, Math.floor(MOST_CHARACTERS / whole.length) - 1);
    const left = words.length > 1 ? words.slice(0, Math.max(most, 0)) : [];
    const without = left.map(({ start, end }) => whole.slice(0, start) + whole.slice(end));
    const body = { model: picker.value, text: [whole, ...without], all_scores: true };
    try {
      if (!whole.trim()) throw new Problem("textEmpty");
      const answer = await call("POST", "v1/sentiment", body, mine.signal);
      if (mine !== controller) return;
      show(whole, left, answer.results);
      cut.hidden = left.length === words.length || words.length < 2;
      say(cut, "wordsCut", { number: left.length, all: words.length });
      code.show({ path: "v1/sentiment", body });
    } catch (error) {
      if (mine !== controller) return;
      for (const part of [verdict, shown, movers]) part.replaceChildren();
      explained.hidden = cut.hidden = true;
      code.hide();
      showProblem(problem, error);
    }
  }

  function show(whole, words, [result, ...others]) {
    const labels = Object.keys(result.scores);
    // What words are measured by: the positive label where there is one, else the likeliest.
    const measured = labels.includes("positive")
      ? "positive"
      : labels.reduce((a, b) => (result.scores[a] >= result.scores[b] ? a : b));
    verdict.replaceChildren(
      el(
        "p",
        { class: `label ${result.label}` },
        say(el("span"), `label_${result.label}`, {}),
        ` ${percent(result.score)}`,
      ),
      ...labels.map((name) => bar(name, result.scores[name])),
    );
    const moves = words.map((_, i) => result.scores[measured] - others[i].scores[measured]);
    const most = Math.max(0.02, ...moves.map(Math.abs));
    const pieces = [];
    let at = 0;
    words.forEach(({ start, end }, i) => {
      pieces.push(whole.slice(at, start), moved(whole.slice(start, end), moves[i], most));
      at = end;
    });
    shown.replaceChildren(...pieces, whole.slice(at));
    explained.hidden = words.length === 0;
    const strongest = words.map(({ start, end }, i) => ({ word: whole.slice(start, end), move: moves[i] }));
    strongest.sort((a, b) => Math.abs(b.move) - Math.abs(a.move));
    movers.replaceChildren(
      ...strongest
        .slice(0, NUM_MOVERS)
        .map(({ word, move }) => el("li", {}, moved(word, move, most), ` ${signed(move)}`)),
    );
    say(explained, "movedHint", { label: () => said(`label_${measured}`) });
  }

  examples.firstChild.click();
  return el(
    "div",
    { class: "columns" },
    el("section", { class: "card controls" }, choice.element, field("text", text), examples),
    el("section", { class: "card output" }, problem, verdict, shown, explained, movers, cut, code.element),
  );
}

const isOfChinese = (model) => /(^|-)zh(-|$)/.test(model.id);
const hasChinese = (models) => models.some(isOfChinese);
const shortened = (text) => (text.length > 34 ? `${text.slice(0, 32).trim()}…` : text);
const signed = (move) => `${move > 0 ? "+" : "−"}${Math.abs(100 * move).toFixed(1)}`; // percentage points
const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** The words of a text, of Chinese too. */
function segments(text) {
  const segmenter = new Intl.Segmenter(/\p{Script=Han}/u.test(text) ? "zh" : current(), { granularity: "word" });
  return [...segmenter.segment(text)]
    .filter((found) => found.isWordLike)
    .map((found) => ({ start: found.index, end: found.index + found.segment.length }));
}

function bar(name, share) {
  const fill = el("span", { class: "fill" });
  fill.style.width = `${100 * share}%`;
  return el(
    "div",
    { class: `bar ${name}` },
    say(el("span", { class: "name" }), `label_${name}`),
    el("span", { class: "track" }, fill),
    el("span", { class: "value" }, percent(share)),
  );
}

/** A word, coloured by how much it moves the probability: more colour, more movement. */
function moved(word, move, most) {
  const points = signed(move);
  const element = el("span", { class: `move ${move > 0 ? "up" : "down"}`, tabindex: 0, "data-move": points }, word);
  label(element, "movedBy", { word, points }, "title");
  element.style.setProperty("--strength", (Math.abs(move) / most).toFixed(3));
  return element;
}
