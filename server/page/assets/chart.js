// A series and what may follow it: a line, and bands between quantiles.

import { svg } from "./dom.js";

const HEIGHT = 340;
const PAD = { left: 46, right: 12, top: 14, bottom: 26 };
const MOST_SHOWN = 120; // values of the series, the last ones
const BANDS = [
  ["0.1", "0.9"],
  ["0.2", "0.8"],
  ["0.3", "0.7"],
  ["0.4", "0.6"],
];

/**
 * A chart whose series can be changed: by dragging its points, or with the arrow keys.
 * @param {function(number, number): void} change - called with the index of a value and its new value
 */
export function chartView(change) {
  const root = svg("svg", { class: "chart", tabindex: 0, role: "slider", id: "chart" });
  let shown = { values: [], forecasts: [] };
  let frame = null; // scales of what is drawn
  let at = null; // index of the value that the keyboard changes
  let dragged = null;

  function draw() {
    const { values, forecasts } = shown;
    const width = Math.max(root.parentElement?.clientWidth ?? 0, 260);
    root.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    root.setAttribute("height", HEIGHT);
    if (values.length === 0) return root.replaceChildren();
    const first = Math.max(0, values.length - MOST_SHOWN);
    const ends = forecasts.map((forecast) => values.length + forecast.given.length + forecast.mean.length);
    const last = Math.max(values.length, ...ends) - 1;
    const seen = values.slice(first).filter((value) => value !== null);
    const bounds = forecasts.flatMap((forecast) => [
      ...forecast.given,
      ...forecast.quantiles["0.1"],
      ...forecast.quantiles["0.9"],
    ]);
    let [low, high] = [Math.min(...seen, ...bounds), Math.max(...seen, ...bounds)];
    const room = (high - low || Math.abs(high) || 1) * 0.06;
    [low, high] = [low - room, high + room];
    const x = (index) => PAD.left + ((index - first) / Math.max(last - first, 1)) * (width - PAD.left - PAD.right);
    const y = (value) => PAD.top + ((high - value) / (high - low)) * (HEIGHT - PAD.top - PAD.bottom);
    frame = { first, low, high, x, y, width };
    root.replaceChildren(
      ...grid(),
      svg("line", {
        class: "now",
        x1: x(values.length - 1),
        x2: x(values.length - 1),
        y1: PAD.top,
        y2: HEIGHT - PAD.bottom,
      }),
      ...forecasts.flatMap(drawn),
      ...lines(values.slice(first), first).map((points) => svg("polyline", { class: "history", points })),
      ...(at === null || values[at] === null || at < first
        ? []
        : [svg("circle", { class: "point", cx: x(at), cy: y(values[at]), r: 6 })]),
    );
    return undefined;
  }

  function* grid() {
    const { low, high, x, y, width, first } = frame;
    for (const value of ticks(low, high)) {
      yield svg("line", { class: "tick", x1: PAD.left, x2: width - PAD.right, y1: y(value), y2: y(value) });
      yield svg("text", { class: "ticktext", x: PAD.left - 6, y: y(value) + 4, "text-anchor": "end" }, compact(value));
    }
    const count = shown.values.length;
    const far = width < 500 ? 60 : 24;
    for (let index = count - 1; index >= first; index -= far) {
      yield svg(
        "text",
        { class: "ticktext", x: x(index), y: HEIGHT - 8, "text-anchor": "middle" },
        String(index - count + 1),
      );
    }
  }

  /** One forecast: its bands, what it assumes, and its median. */
  function drawn({ given, quantiles, colour }) {
    const { x, y } = frame;
    const begin = shown.values.length + given.length;
    const along = (level) => quantiles[level].map((value, i) => `${x(begin + i)},${y(value)}`);
    const assumed = [shown.values.at(-1), ...given].map((value, i) => `${x(begin - given.length - 1 + i)},${y(value)}`);
    const isBase = given.length === 0;
    return [
      ...(isBase ? BANDS : BANDS.slice(0, 1)).map(([lower, upper]) =>
        svg("polygon", { class: `band ${colour}`, points: [...along(upper), ...along(lower).reverse()].join(" ") }),
      ),
      ...(isBase ? [] : [svg("polyline", { class: `assumed ${colour}`, points: assumed.join(" ") })]),
      svg("polyline", { class: `median ${colour}`, points: [assumed.at(-1), ...along("0.5")].join(" ") }),
    ];
  }

  /** Lines through the values that are there. */
  function lines(values, first) {
    const found = [[]];
    values.forEach((value, i) =>
      value === null ? found.push([]) : found.at(-1).push(`${frame.x(first + i)},${frame.y(value)}`),
    );
    return found.map((points) => points.join(" "));
  }

  function placeOf(event) {
    const box = root.getBoundingClientRect();
    const left = ((event.clientX - box.left) / box.width) * frame.width;
    const top = ((event.clientY - box.top) / box.height) * HEIGHT;
    const step = frame.x(frame.first + 1) - frame.x(frame.first);
    const index = frame.first + Math.round((left - PAD.left) / step);
    const value = frame.high - ((top - PAD.top) / (HEIGHT - PAD.top - PAD.bottom)) * (frame.high - frame.low);
    return { index: Math.min(Math.max(index, frame.first), shown.values.length - 1), value, left };
  }

  function choose(index) {
    at = Math.min(Math.max(index, frame?.first ?? 0), shown.values.length - 1);
    const value = shown.values[at];
    root.setAttribute("aria-valuenow", value ?? 0);
    root.setAttribute("aria-valuetext", `${at + 1 - shown.values.length}: ${value === null ? "–" : compact(value)}`);
    draw();
  }

  function set(value) {
    const rounded = Number(value.toPrecision(4));
    shown.values[at] = rounded;
    change(at, rounded);
    choose(at);
  }

  root.addEventListener("pointerdown", (event) => {
    if (frame === null || event.button !== 0) return;
    const place = placeOf(event);
    if (place.left > frame.x(shown.values.length - 1) + 12) return; // the future is the model's
    root.setPointerCapture(event.pointerId);
    dragged = place.index;
    choose(dragged);
  });
  root.addEventListener("pointermove", (event) => {
    if (dragged !== null) set(placeOf(event).value);
  });
  for (const name of ["pointerup", "pointercancel"]) root.addEventListener(name, () => (dragged = null));
  root.addEventListener("focus", () => at === null && shown.values.length && choose(shown.values.length - 1));
  root.addEventListener("keydown", (event) => {
    if (frame === null || at === null) return;
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -24, PageDown: 24 };
    const moves = { ArrowUp: 0.02, ArrowDown: -0.02 };
    if (event.key in steps) choose(at + steps[event.key]);
    else if (event.key in moves) set((shown.values[at] ?? 0) + moves[event.key] * (frame.high - frame.low));
    else if (event.key === "End") choose(shown.values.length - 1);
    else return;
    event.preventDefault();
  });
  return {
    element: root,
    draw,
    /**
     * @param {(number|null)[]} values
     * @param {{given: number[], mean: number[], quantiles: Object, colour: string}[]} forecasts
     */
    show(values, forecasts) {
      shown = { values: [...values], forecasts };
      if (at !== null) at = Math.min(at, values.length - 1);
      draw();
    },
    /** Leave out all but the first forecasts. */
    keep(count) {
      if (shown.forecasts.length <= count) return;
      shown.forecasts = shown.forecasts.slice(0, count);
      draw();
    },
  };
}

/** Round values between two bounds, four or so. */
function* ticks(low, high) {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  for (let i = Math.ceil(low / step); i * step <= high; i++) yield i * step;
}

/** A number in few characters. */
export const compact = (value) =>
  Math.abs(value) >= 10_000 || (value !== 0 && Math.abs(value) < 0.001)
    ? value.toExponential(1)
    : String(Number(value.toPrecision(4)));
