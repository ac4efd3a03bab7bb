// What the server does now: its Prometheus metrics, read every two seconds while the page is visible.

import { text } from "./api.js";
import { el, svg } from "./dom.js";
import { current, label, say } from "./language.js";

const EVERY = 2000; // milliseconds
const NUM_POINTS = 40;
const NAMES = [
  "rnnserve_rows_running",
  "rnnserve_rows_waiting",
  "rnnserve_batch_size_sum",
  "rnnserve_batch_size_count",
  "rnnserve_step_duration_seconds_sum",
  "rnnserve_step_duration_seconds_count",
  "rnnserve_row_steps_total",
  "rnnserve_prompt_tokens_total",
];
const PATH = `metrics?${NAMES.map((name) => `name[]=${name}`).join("&")}`;
const LINE = /^(\w+)(?:\{(.*)\})? (\S+)$/;

/** Sums over models; tokens are counted of each model. */
export function reading(content) {
  const sums = {};
  const ofModels = {};
  for (const line of content.split("\n")) {
    const [, name, labels = "", value] = LINE.exec(line) ?? [];
    if (!NAMES.includes(name)) continue;
    sums[name] = (sums[name] ?? 0) + Number(value);
    ofModels[`${name} ${labels}`] = Number(value);
  }
  return { sums, ofModels, time: performance.now() };
}

/**
 * What happened between two readings.
 * @returns {{rows: number, queue: number, step: number|null, tokens: number}} mean rows of a step, rows that wait,
 *     milliseconds of a step (null: there was none), tokens a second, generated or read
 */
export function between(before, now) {
  const grown = (name) => (now.sums[name] ?? 0) - (before.sums[name] ?? 0);
  const steps = grown("rnnserve_batch_size_count");
  const timed = grown("rnnserve_step_duration_seconds_count");
  let tokens = 0;
  for (const [name, value] of Object.entries(now.ofModels)) {
    const [metric, labels] = name.split(/ (.*)/);
    if (metric !== "rnnserve_prompt_tokens_total") continue;
    const decoded = `rnnserve_row_steps_total ${labels}`; // of a classifier there are none: it reads
    const ofRows = (now.ofModels[decoded] ?? 0) - (before.ofModels[decoded] ?? 0);
    tokens += ofRows > 0 ? ofRows : value - (before.ofModels[name] ?? 0);
  }
  return {
    rows: steps > 0 ? grown("rnnserve_batch_size_sum") / steps : (now.sums.rnnserve_rows_running ?? 0),
    queue: now.sums.rnnserve_rows_waiting ?? 0,
    step: timed > 0 ? (1000 * grown("rnnserve_step_duration_seconds_sum")) / timed : null,
    tokens: tokens / ((now.time - before.time) / 1000),
  };
}

/** The strip. */
export function strip() {
  const output = () => el("output", {}, "–");
  const shown = { rows: output(), queue: output(), step: output(), tokens: output() };
  const line = svg("polyline", { points: "" });
  const spark = svg(
    "svg",
    { class: "spark", viewBox: `0 0 ${NUM_POINTS} 10`, preserveAspectRatio: "none", "aria-hidden": "true" },
    line,
  );
  const item = (name) =>
    label(
      el("span", { class: "meter" }, say(el("small"), `live_${name}`), shown[name]),
      `live_${name}_title`,
      {},
      "title",
    );
  const element = el("aside", { class: "strip" }, item("rows"), item("queue"), item("step"), item("tokens"), spark);
  label(element, "live");
  const points = [];
  let before = null;

  async function read() {
    if (document.visibilityState !== "visible") {
      before = null;
      return;
    }
    let now;
    try {
      now = reading(await text(PATH));
    } catch {
      before = null; // what is wrong is said where something is asked for
      element.classList.add("lost");
      return;
    }
    element.classList.remove("lost");
    if (before !== null) show(between(before, now));
    before = now;
  }

  function show({ rows, queue, step, tokens }) {
    const written = (value, digits) =>
      new Intl.NumberFormat(current(), { maximumFractionDigits: digits }).format(value);
    shown.rows.textContent = written(rows, 1);
    shown.queue.textContent = written(queue, 0);
    if (step !== null) shown.step.textContent = `${written(step, 2)} ms`;
    shown.tokens.textContent = written(tokens, 0);
    points.push(tokens);
    if (points.length > NUM_POINTS) points.shift();
    const most = Math.max(1, ...points);
    line.setAttribute(
      "points",
      points.map((value, i) => `${NUM_POINTS - points.length + i},${9.5 - (9 * value) / most}`).join(" "),
    );
  }

  read();
  setInterval(read, EVERY);
  document.addEventListener("visibilitychange", read);
  return element;
}
