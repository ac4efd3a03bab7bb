// The branches of a story as a river: time runs to the right, a branch leaves where its session was forked.

import { el, svg } from "./dom.js";
import { words } from "./language.js";

const LANE = 38; // pixels from one branch to the next
const TOP = 26;
const LEFT = 14;
const RIGHT = 16;
const BEND = 26; // pixels that a branch takes to its lane
export const NUM_COLOURS = 6;

/** The class that colours a branch, and its text. */
export const colourOf = (branch) => `branch${branch.number % NUM_COLOURS}`;

/**
 * A drawing of a Story.
 * @param {Story} story
 * @param {function(Branch): void} choose - called when a branch is clicked, or entered by the keyboard
 */
export function treeView(story, choose) {
  const root = svg("svg", { role: "tree", class: "tree" });
  const element = el("div", { class: "treebox" }, root);
  let chosen = null;
  let order = [];

  /** Each branch, then those that leave it, the first to leave last: so no branch crosses another one. */
  function ordered(parent) {
    return story
      .children(parent)
      .sort((a, b) => (parent === null ? a.number - b.number : b.from - a.from || a.number - b.number))
      .flatMap((branch) => [branch, ...ordered(branch)]);
  }

  function draw() {
    order = ordered(null);
    element.hidden = order.length === 0;
    const width = Math.max(element.clientWidth, 240);
    const height = TOP + order.length * LANE + 14;
    root.setAttribute("viewBox", `0 0 ${width} ${height}`);
    root.setAttribute("height", height);
    root.setAttribute("aria-label", words("tree"));
    const most = Math.max(1, ...order.map((branch) => branch.units.length));
    const x = (units) => LEFT + (units / most) * (width - LEFT - RIGHT);
    const y = (branch) => TOP + order.indexOf(branch) * LANE + 10;
    const focused = root.contains(document.activeElement) ? document.activeElement.dataset.branch : null;
    root.replaceChildren(...axis(most, x, height), ...order.toReversed().map((branch) => item(branch, x, y, width)));
    if (focused !== null) root.querySelector(`[data-branch="${focused}"]`)?.focus();
  }

  function* axis(most, x, height) {
    const step = [10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000].find((size) => most / size <= 8) ?? 50000;
    for (let at = 0; at <= most; at += step) {
      yield svg("line", { x1: x(at), x2: x(at), y1: 16, y2: height - 4, class: "tick" });
      yield svg("text", { x: x(at), y: 11, class: "ticktext", "text-anchor": at ? "middle" : "start" }, String(at));
    }
  }

  function item(branch, x, y, width) {
    const [begin, end, lane] = [x(branch.from), x(branch.units.length), y(branch)];
    const parent = branch.parent;
    const bend = Math.min(BEND, Math.max(end - begin, 10));
    const path =
      parent === null
        ? `M${begin} ${lane}H${end}`
        : `M${begin} ${y(parent)}` +
          `C${begin + bend * 0.7} ${y(parent)} ${begin + bend * 0.2} ${lane} ${begin + bend} ${lane}` +
          `H${Math.max(end, begin + bend)}`;
    const own = branch.units
      .slice(branch.from)
      .map((unit) => unit.text)
      .join("")
      .replace(/\s+/g, " ")
      .trim();
    const isLate = begin > width * 0.66; // its text would leave the drawing
    const room = Math.floor((isLate ? begin : width - begin - bend) / 7.2) - 2;
    const shown = own.length > room ? `${own.slice(0, Math.max(room, 3))}…` : own;
    const textAt = isLate
      ? { x: width - RIGHT, "text-anchor": "end" }
      : { x: parent === null ? begin + 2 : begin + bend };
    const filling = { number: branch.number, units: branch.units.length, text: own.slice(0, 80) };
    const isChosen = branch === chosen;
    return svg(
      "g",
      {
        class: `branch ${colourOf(branch)}${isChosen ? " chosen" : ""}${branch.isEnded ? " ended" : ""}`,
        role: "treeitem",
        tabindex: isChosen ? 0 : -1,
        "aria-selected": String(isChosen),
        "aria-level": level(branch),
        "aria-label": words(branch.isEnded ? "branchEndedName" : "branchName", filling),
        "data-branch": branch.number,
        "data-session": branch.session,
        onkeydown: (event) => pressed(event, branch),
      },
      svg("path", { d: path, class: "halo" }),
      svg("path", { d: path, class: "stream" }),
      svg("circle", { cx: Math.max(end, parent === null ? 0 : begin + bend), cy: lane, r: isChosen ? 6.5 : 4.5 }),
      svg("text", { ...textAt, y: lane - 9 }, shown),
    );
  }

  const level = (branch) => (branch.parent === null ? 1 : 1 + level(branch.parent));

  function pressed(event, branch) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    let next = null;
    if (step) next = order[order.indexOf(branch) + step];
    else if (event.key === "ArrowLeft") next = branch.parent;
    else if (event.key === "ArrowRight") next = story.children(branch)[0];
    else if (event.key === "Home") next = order[0];
    else if (event.key === "End") next = order.at(-1);
    else if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    const wanted = next ?? branch;
    choose(wanted);
    root.querySelector(`[data-branch="${wanted.number}"]`)?.focus();
  }

  // Of the whole drawing, and when a press begins: its parts are drawn anew while the model writes.
  for (const name of ["pointerdown", "click"]) {
    root.addEventListener(name, (event) => {
      const number = Number(event.target.closest("[data-branch]")?.dataset.branch);
      const branch = order.find((other) => other.number === number);
      if (branch !== undefined && branch !== chosen) choose(branch);
    });
  }
  new ResizeObserver(() => draw()).observe(element);
  document.addEventListener("language", draw);
  return {
    element,
    /** Draw again, with this branch as the chosen one. */
    show(branch) {
      chosen = branch;
      draw();
    },
  };
}
