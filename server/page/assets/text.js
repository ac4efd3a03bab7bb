// A branch's text: each unit of it is a point in time, to be picked by a click or with the keyboard.

import { el } from "./dom.js";
import { label } from "./language.js";
import { colourOf } from "./tree.js";

const SHADES = [0.7, 1.8, 3.2, 5]; // nats from which on a unit is shaded more

/**
 * The text of one branch of a Story.
 * @param {Story} story
 * @param {function(number): void} pick - called with the index of the unit that was picked
 */
export function textView(story, pick) {
  const element = label(el("div", { class: "story", role: "listbox", tabindex: 0, id: "story" }), "points");
  let branch = null;
  let isShaded = false;

  element.addEventListener("click", (event) => {
    const at = event.target.dataset?.i;
    if (at !== undefined && !String(getSelection())) pick(Number(at));
  });
  element.addEventListener("keydown", pressed);
  element.addEventListener("focus", () => {
    // By the keyboard only: a press of the pointer must find the text where it was.
    if (element.matches(":focus-visible") && current() === null && branch?.units.length) move(branch.units.length - 1);
  });

  /** Show a branch, or none. */
  function show(chosen) {
    branch = chosen;
    element.replaceChildren();
    element.removeAttribute("aria-activedescendant");
    if (branch === null) return;
    element.className = `story ${colourOf(branch)}${isShaded ? " shaded" : ""}`;
    append();
  }

  /** Show what the branch's text has beyond what is shown. */
  function append() {
    const isAtEnd = element.scrollHeight - element.scrollTop - element.clientHeight < 40;
    const forks = new Set(story.children(branch).map((child) => child.from - 1));
    const from = element.childElementCount;
    const pieces = branch.units.slice(from).map((unit, i) => piece(unit, from + i, forks));
    if (pieces.length === 0) return;
    element.append(...pieces);
    if (isAtEnd) element.scrollTop = element.scrollHeight;
  }

  function piece(unit, index, forks) {
    const kinds = [
      index < branch.from ? "old" : "",
      unit.logprob === null ? "given" : `shade${SHADES.filter((bound) => -unit.logprob > bound).length}`,
      forks.has(index) ? "forked" : "",
      unit.text === "\n" ? "line" : "",
    ];
    const attributes = {
      class: kinds.filter(Boolean).join(" "),
      role: "option",
      "aria-selected": "false",
      id: `unit${index}`,
      "data-i": index,
    };
    return el("span", attributes, unit.text);
  }

  /** The unit that the keyboard is at, or null. */
  function current() {
    const found = element.querySelector(".current");
    return found === null ? null : Number(found.dataset.i);
  }

  function move(index) {
    const before = element.querySelector(".current");
    before?.classList.remove("current");
    before?.setAttribute("aria-selected", "false");
    const found = element.children[Math.max(0, Math.min(index, element.childElementCount - 1))];
    if (!found) return;
    found.classList.add("current");
    found.setAttribute("aria-label", found.textContent.trim() || "␣");
    found.setAttribute("aria-selected", "true");
    found.scrollIntoView({ block: "nearest" });
    element.setAttribute("aria-activedescendant", found.id);
  }

  function pressed(event) {
    const at = current() ?? element.childElementCount - 1;
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -100, PageDown: 100 };
    if (event.key in steps) move(at + steps[event.key]);
    else if (event.key === "ArrowUp" || event.key === "ArrowDown") move(lineFrom(at, event.key === "ArrowUp" ? -1 : 1));
    else if (event.key === "Home") move(0);
    else if (event.key === "End") move(element.childElementCount - 1);
    else if (event.key === "Enter" || event.key === " ") pick(at);
    else return;
    event.preventDefault();
  }

  /** The unit above or below one: of the next line, the nearest to it from left to right. */
  function lineFrom(at, step) {
    const box = element.children[at].getBoundingClientRect();
    let best = at;
    let line = null;
    for (let i = at + step; i >= 0 && i < element.childElementCount; i += step) {
      const other = element.children[i].getBoundingClientRect();
      if (Math.abs(other.top - box.top) < 4 && line === null) continue;
      line ??= other.top;
      if (Math.abs(other.top - line) > 4) break;
      const nearest = element.children[best].getBoundingClientRect();
      if (best === at || Math.abs(other.left - box.left) < Math.abs(nearest.left - box.left)) best = i;
    }
    return best;
  }

  return {
    element,
    show,
    append,
    current,
    /** Whether units that the model found unlikely have a colour. */
    shade(wanted) {
      isShaded = wanted;
      element.classList.toggle("shaded", wanted);
    },
  };
}
