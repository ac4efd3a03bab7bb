// Forecasting: a series that can be changed, its quantiles, and what would follow if it went on otherwise.

import { Problem, call, clear, note, showProblem } from "./api.js";
import { chartView, compact } from "./chart.js";
import { codeBox } from "./code.js";
import { field, modelPicker } from "./controls.js";
import { debounced, el } from "./dom.js";
import { label, say } from "./language.js";

const MOST_SCENARIOS = 5;
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** The panel of the task. */
export function forecastPanel(models) {
  const choice = modelPicker(models);
  const picker = choice.select;
  const text = el("textarea", { id: "series", rows: 6, spellcheck: "false" });
  const start = label(el("input", { id: "start", autocomplete: "off" }), "startHint", {}, "placeholder");
  const assumed = label(el("input", { id: "assumed", autocomplete: "off" }), "assumedHint", {}, "placeholder");
  const add = say(el("button", { type: "button", "data-action": "addScenario", onclick: addScenario }), "addScenario");
  const sample = say(el("button", { type: "button", class: "chip", onclick: sampled }), "sampleSeries");
  const problem = note();
  const chart = chartView((index, value) => {
    const values = seriesOf(text.value);
    values[index] = value;
    text.value = written(values);
    changed();
  });
  const scenarioList = el("ul", { class: "scenarios" });
  const table = el("table", {});
  const numbers = el(
    "details",
    { class: "numbers", hidden: true },
    say(el("summary"), "numbers"),
    el("div", { class: "scroll" }, table),
  );
  const code = codeBox();
  const soon = debounced(300, ask);
  let scenarios = []; // {given, colour, session, forecast}
  const sessions = []; // ids of all that were made for the scenarios
  let base = null; // the id of the session that has read the series, once there is a scenario
  let controller = null;
  let numColours = 0;

  text.addEventListener("input", changed);
  start.addEventListener("input", changed);
  picker.addEventListener("change", () => {
    outdated();
    ask();
  });
  assumed.addEventListener("keydown", (event) => event.key === "Enter" && addScenario());

  function sampled() {
    text.value = written(sampleSeries());
    start.value = "2024-01-01T00:00"; // a Monday
    outdated();
    ask();
  }

  function changed() {
    outdated();
    soon();
  }

  /** What followed from another series is not shown any more; it is asked for anew with the series. */
  function outdated() {
    controller?.abort();
    controller = null;
    for (const scenario of scenarios) scenario.forecast = null;
    chart.keep(1);
    scenarioList.replaceChildren();
  }

  const series = (values) => (start.value.trim() ? { start: start.value.trim(), values } : { values });

  /** Forecast the series, and every scenario anew: each is a fork of one session that has read the series. */
  async function ask() {
    controller?.abort();
    clear(problem);
    controller = new AbortController();
    const mine = controller;
    let isForecast = false; // the series itself
    try {
      const values = seriesOf(text.value);
      if (values.length === 0) throw new Problem("seriesEmpty");
      const body = { model: picker.value, series: [series(values)] };
      const answer = await call("POST", "v1/forecast", body, mine.signal);
      const found = { given: [], colour: "base", ...answer.forecasts[0] };
      if (mine !== controller) return;
      show(values, found);
      isForecast = true;
      code.show({ path: "v1/forecast", body });
      if (scenarios.length > 0) {
        forget(sessions.splice(0));
        base = null;
        for (const scenario of scenarios) {
          await forecastOf(scenario, values, mine.signal);
          if (mine !== controller) return;
          show(values, found);
        }
      }
    } catch (error) {
      if (mine !== controller) return;
      if (isForecast) scenarios = scenarios.filter((scenario) => scenario.forecast !== null); // else when it is
      const isStartMissing = error.status === 422 && !start.value.trim() && /start is missing/.test(error.message);
      showProblem(problem, isStartMissing ? new Problem("startEmpty") : error);
    }
  }

  async function addScenario() {
    clear(problem);
    try {
      const given = seriesOf(assumed.value);
      if (given.length === 0 || given.includes(null)) throw new Problem("assumedEmpty");
      if (scenarios.length >= MOST_SCENARIOS) throw new Problem("scenariosFull", { most: MOST_SCENARIOS });
      if (!text.value.trim()) throw new Problem("seriesEmpty");
      if (!start.value.trim()) throw new Problem("startEmpty");
      scenarios = [...scenarios, { given, colour: `branch${(2 + numColours++) % 6}`, session: null, forecast: null }];
      assumed.value = "";
      await ask();
    } catch (error) {
      showProblem(problem, error);
    }
  }

  async function forecastOf(scenario, values, signal) {
    const model = picker.value;
    if (!start.value.trim()) throw new Problem("startEmpty");
    if (base === null) {
      const made = await call("POST", "v1/sessions", { model }, signal);
      sessions.push(made.id);
      await call("POST", "v1/forecast", { model, session: made.id, series: [series(values)] }, signal);
      base = made.id;
    }
    scenario.session = (await call("POST", `v1/sessions/${base}/fork`, {}, signal)).id;
    sessions.push(scenario.session);
    const body = { model, session: scenario.session, series: [{ values: scenario.given }] };
    const answer = await call("POST", "v1/forecast", body, signal);
    scenario.forecast = { given: scenario.given, colour: scenario.colour, ...answer.forecasts[0] };
  }

  /** Remove sessions that are not needed any more; those that are gone already are none. */
  function forget(ids) {
    for (const id of ids) call("DELETE", `v1/sessions/${id}`).catch(() => null);
  }

  function show(values, found) {
    const known = scenarios.filter((scenario) => scenario.forecast !== null);
    chart.show(values, [found, ...known.map((scenario) => scenario.forecast)]);
    label(chart.element, "chart", { number: values.length, steps: found.mean.length });
    scenarioList.replaceChildren(...known.map(entry));
    numbers.hidden = false;
    const levels = ["0.1", "0.5", "0.9"];
    const row = (cells, kind) => el("tr", {}, ...cells.map((cell) => el(kind, {}, cell)));
    table.replaceChildren(
      row([say(el("span"), "step"), ...levels], "th"),
      ...found.mean.map((_, i) =>
        row([found.timestamps?.[i] ?? `+${i + 1}`, ...levels.map((level) => compact(found.quantiles[level][i]))], "td"),
      ),
    );
  }

  function entry(scenario) {
    const remove = label(
      el("button", { type: "button", class: "small", onclick: () => removed(scenario) }, "×"),
      "removeScenario",
    );
    const given = scenario.given.slice(0, 8).map(compact).join(", ") + (scenario.given.length > 8 ? " …" : "");
    return el(
      "li",
      { class: scenario.colour, "data-session": scenario.session },
      say(el("span"), "scenario", { given }),
      remove,
    );
  }

  function removed(scenario) {
    scenarios = scenarios.filter((other) => other !== scenario);
    ask();
  }

  const element = el(
    "div",
    { class: "columns" },
    el(
      "section",
      { class: "card controls" },
      choice.element,
      field("series", text),
      el("div", { class: "chips" }, sample),
      field("start", start),
      field("assumed", assumed),
      el("div", { class: "row" }, add),
    ),
    el(
      "section",
      { class: "card output" },
      problem,
      el("div", { class: "chartbox" }, chart.element),
      say(el("p", { class: "hint" }), "chartHint"),
      scenarioList,
      numbers,
      code.element,
    ),
  );
  new ResizeObserver(() => chart.draw()).observe(element);
  sampled();
  return element;
}

const written = (values) => values.map((value) => (value === null ? "null" : compact(value))).join(" ");

/** The numbers of a text; what is missing is "null", "nan" or "-". Throws Problem. */
export function seriesOf(text) {
  return text
    .split(/[\s,;]+/)
    .filter(Boolean)
    .map((item) => {
      if (/^(null|nan|-)$/i.test(item)) return null;
      if (!NUMBER.test(item)) throw new Problem("seriesWrong", { item: item.slice(0, 40) });
      return Number(item);
    });
}

/** Rides of a week, hour by hour: the way to work and back, quieter at the weekend. */
function sampleSeries() {
  let seed = 7;
  const noise = () => (seed = (seed * 16807) % 2147483647) / 2147483647 - 0.5;
  return Array.from({ length: 24 * 7 - 10 }, (_, i) => {
    const hour = i % 24;
    const peak = (center, width) => Math.exp(-((hour - center) ** 2) / width);
    const isWeekend = Math.floor(i / 24) > 4;
    const shape = isWeekend ? 0.7 * peak(14, 20) : peak(8, 5) + 0.9 * peak(17, 7) + 0.25 * peak(13, 30);
    return Math.round(20 + 180 * shape * (1 + 0.25 * noise()) + 6 * noise());
  });
}
