// Text generation: a text whose every character is a point in time.

import { Problem, clear, note, showProblem } from "./api.js";
import { codeBox } from "./code.js";
import { action, check, field, modelPicker, slider } from "./controls.js";
import { el } from "./dom.js";
import { label, say } from "./language.js";
import { Story } from "./story.js";
import { textView } from "./text.js";
import { treeView } from "./tree.js";

const SPEEDS = [15, 50, 150, Infinity]; // units shown a second
const EXAMPLES = { "shakespeare-char": ["ROMEO:\n", "First Citizen:\nWe are ", "KING RICHARD III:\nMy kingdom "] };
const KEPT = "rnnserve.story"; // of sessionStorage: the story outlives a reload of the page
const FRAME = 33; // milliseconds
const TREE_FRAMES = 4; // from one drawing of the tree to the next

/** The panel of the task. */
export function generationPanel(models) {
  const story = new Story();
  let branch = null; // that is shown
  let writing = null; // {branch, stop()} while the model goes on
  let isBusy = false; // an action is going on
  let idle = Promise.resolve(); // when it has ended
  let isReady = false; // the story of before is there

  // What is asked for.
  const choice = modelPicker(models);
  const picker = choice.select;
  const prompt = label(el("textarea", { id: "prompt", rows: 3 }), "promptHint", {}, "placeholder");
  const temperature = slider("temperature", 0, 2, 0.05, 0.8);
  const length = slider("maxTokens", 20, 1000, 20, 240);
  const speed = slider("speed", 0, SPEEDS.length - 1, 1, 1, (at) =>
    SPEEDS[at] === Infinity ? "∞" : `${SPEEDS[at]}/s`,
  );
  const seed = el("input", { id: "seed", inputmode: "numeric", autocomplete: "off", size: 16 });
  label(seed, "seedHint", {}, "placeholder");
  const atOnce = el("input", { type: "checkbox", id: "at-once", checked: true });
  const shaded = el("input", { type: "checkbox", id: "shaded", onchange: () => view.shade(shaded.checked) });
  const begin = action("begin", () => start(), "primary");
  const goOn = action("goOn", () => run(() => write(branch, prompt.value)), "primary");
  const stop = action("stop", () => writing?.stop(), "stop");
  const examples = el("div", { class: "chips" });

  // What comes of it.
  const problem = note();
  const renew = el(
    "p",
    { class: "warning", hidden: true },
    say(el("span"), "endedHere"),
    " ",
    action("renew", () => run(renewed)),
  );
  const status = el("p", { class: "status", role: "status", "aria-live": "polite" });
  const view = textView(story, stoppedAt);
  const hint = say(el("p", { class: "hint" }), "rewindHint");
  const blank = say(el("p", { class: "blank" }), "blank");
  const tree = treeView(story, (chosen) => show(chosen));
  const fork = action("branchHere", () => run(() => branchAt(view.current() ?? branch.units.length - 1)));
  const save = action("export", () => run(exported));
  const file = el("input", { type: "file", accept: ".json,.rnnbranch,application/json", hidden: true, id: "file" });
  file.addEventListener("change", () => run(imported));
  const load = action("import", () => file.click());
  const remove = action("remove", () => run(removed));
  const code = codeBox();
  const stage = el("div", { class: "stage", hidden: true }, view.element, hint);

  const element = el(
    "div",
    { class: "columns" },
    el(
      "section",
      { class: "card controls" },
      choice.element,
      field("prompt", prompt),
      examples,
      el("div", { class: "sliders" }, temperature.element, length.element, speed.element, field("seed", seed)),
      el("div", { class: "row" }, goOn, begin, stop),
      check(atOnce, "atOnce"),
      check(shaded, "shaded"),
    ),
    el(
      "section",
      { class: "card output" },
      problem,
      renew,
      blank,
      stage,
      status,
      el("div", { class: "row tools" }, fork, save, load, file, remove),
      tree.element,
      code.element,
    ),
  );

  picker.addEventListener("change", offered);
  prompt.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) (goOn.disabled ? begin : goOn).click();
  });
  offered();
  refresh();
  run(restored);

  function offered() {
    const found = EXAMPLES[picker.value] ?? [];
    if (!prompt.value && found.length) prompt.value = found[0];
    examples.replaceChildren(
      ...found.map((example) =>
        el("button", { type: "button", class: "chip", onclick: () => (prompt.value = example) }, example.trim()),
      ),
    );
  }

  /** Run an action of the person's; one at a time, and what goes wrong is shown. */
  function run(work) {
    if (!isBusy) idle = done(work);
    return idle;
  }

  async function done(work) {
    isBusy = true;
    clear(problem);
    element.setAttribute("aria-busy", "true");
    try {
      await work();
    } catch (error) {
      if (error instanceof Problem && error.isSessionEnded && branch !== null) branch.isEnded = true;
      tell();
      showProblem(problem, error);
    } finally {
      isBusy = false;
      element.setAttribute("aria-busy", "false");
      refresh();
    }
  }

  function start() {
    return run(async () => {
      if (!prompt.value) throw new Problem("promptEmpty");
      const given = prompt.value;
      const made = await story.begin(picker.value);
      show(made);
      try {
        await write(made, given);
      } finally {
        if (made.units.length === 0) {
          story.remove(made).catch(() => null); // refused: nothing was written
          story.forget(made);
          show(story.branches.at(-1) ?? null);
        }
      }
    });
  }

  /** Branch at a unit, also while the model writes on: then it stops first. */
  async function stoppedAt(index) {
    writing?.stop();
    await idle;
    await run(() => branchAt(index));
  }

  async function branchAt(index) {
    show(await story.fork(branch, index + 1));
    if (atOnce.checked) await write(branch, "");
  }

  /** Let the model go on, and show it at the chosen speed. */
  async function write(target, given) {
    const options = { max_tokens: length.value(), temperature: temperature.value(), logprobs: 0, stream: true };
    const wanted = seed.value.trim();
    if (wanted) {
      if (!/^\d+$/.test(wanted) || !Number.isSafeInteger(Number(wanted))) throw new Problem("seedWrong");
      options.seed = Number(wanted);
    }
    const controller = new AbortController();
    const queue = [];
    let isWhole = false; // the call has ended
    let isStopped = false;
    let failure = null;
    let last = null;
    const { body, units } = await story.prepared(target, given, options);
    keep(); // with what the session has read, which may be less now
    writing = {
      branch: target,
      stop() {
        isStopped = true;
        if (!isWhole) controller.abort();
      },
    };
    refresh();
    tell();
    const before = target.made;
    let read = 0; // tokens before the continuation
    const reading = (async () => {
      try {
        for await (const event of story.write(target, body, controller.signal)) {
          if (last === null) {
            target.units.push(...units); // of the prompt: the server has taken it
            if (prompt.value === given) prompt.value = "";
            read = target.tokens;
            const used = { max_tokens: options.max_tokens, temperature: options.temperature, seed: event.seed };
            target.made = { at: target.text.length, options: used, key: "stopped", unknown: 0 };
            if (target === branch) tellCall();
          }
          last = event;
          queue.push(...event.units);
        }
        isWhole = true;
      } catch (error) {
        failure = error;
      }
    })();
    await shown(
      target,
      queue,
      () => isStopped,
      () => isWhole || failure !== null,
    );
    await reading;
    writing = null;
    if (last !== null) {
      const made = target.made;
      made.unknown = last.usage?.unknown_characters ?? 0;
      if (isWhole && !isStopped) made.key = last.finish === "stop" ? "ended" : "written";
      else if (target.tokens > read) made.options.max_tokens = target.tokens - read; // as many as are shown
      else target.made = before;
    }
    if (isWhole) await story.keep(target, queue.length === 0);
    else if (last !== null) await caughtUp(target);
    if (failure !== null && failure.name !== "AbortError") throw failure;
    tell();
  }

  /** After a call that was cut off, whose usage is not known. */
  async function caughtUp(target) {
    try {
      const unknown = await story.sync(target);
      if (target.made !== null) target.made.unknown = unknown;
    } catch (error) {
      showProblem(problem, error);
    }
  }

  /** Say how the chosen branch stands, and which call it has made. */
  function tell() {
    tellStatus();
    tellCall();
  }

  function tellStatus() {
    if (branch !== null && writing?.branch === branch) return said("writing");
    if (branch === null || branch.units.length === 0) return status.replaceChildren();
    const { made, tokens: number } = branch;
    if (made === null) return said("held", { number });
    said(made.key, { number, seed: String(made.options.seed) });
    if (made.unknown > 0) status.append(" ", say(el("span"), "unknown", { number: made.unknown }));
  }

  /** Let the status line say this alone. */
  function said(key, filling) {
    status.replaceChildren(say(el("span"), key, filling));
  }

  function tellCall() {
    const body = branch?.call ?? null;
    if (body === null) code.hide();
    else code.show({ path: "v1/generate", body, stream: true });
  }

  /** Move units from the queue into the branch's text, as fast as was chosen, until nothing more comes. */
  function shown(target, queue, isStopped, isOver) {
    return new Promise((resolve) => {
      let before = performance.now();
      let due = 0;
      let numFrames = 0;
      const timer = setInterval(() => {
        const now = performance.now();
        const rate = SPEEDS[speed.value()];
        due = rate === Infinity ? queue.length : Math.min(due + ((now - before) / 1000) * rate, queue.length);
        before = now;
        const count = isStopped() ? 0 : Math.floor(due);
        due -= count;
        if (count > 0) target.units.push(...queue.splice(0, count));
        if (target === branch) {
          view.append();
          stage.hidden = branch.units.length === 0;
          blank.hidden = !stage.hidden;
        }
        if (numFrames++ % TREE_FRAMES === 0) tree.show(branch);
        if (isStopped() || (queue.length === 0 && isOver())) {
          clearInterval(timer);
          resolve();
        }
      }, FRAME);
    });
  }

  function show(chosen) {
    branch = chosen;
    view.show(branch);
    refresh();
    tell();
  }

  // The branch as a whole.

  async function restored() {
    try {
      const { record, chosen } = JSON.parse(keptStory() ?? "{}");
      if (record === undefined) return;
      await story.restore(record);
      show(story.branches.find((other) => other.number === chosen) ?? story.branches.at(-1) ?? null);
      if (branch !== null) prompt.value = "";
    } finally {
      isReady = true;
    }
  }

  /** Whenever nothing is going on; a browser that keeps nothing, or not so much, goes without. */
  function keep() {
    try {
      sessionStorage.setItem(KEPT, JSON.stringify({ record: story, chosen: branch?.number ?? null }));
    } catch {
      // the story is as long as the page is open
    }
  }

  async function renewed() {
    await story.renew(branch);
    said("renewed");
  }

  async function exported() {
    const content = await story.exported(branch);
    const url = URL.createObjectURL(new Blob([content], { type: "application/json" }));
    el("a", { href: url, download: `branch-${branch.number}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
    said("exported", { name: `branch-${branch.number}.json` });
  }

  async function imported() {
    const [chosen] = file.files;
    if (!chosen) return;
    const content = await chosen.text();
    file.value = "";
    show(await story.imported(content));
    said("imported", { number: branch.tokens });
  }

  async function removed() {
    const parent = branch.parent;
    await story.remove(branch);
    show(parent ?? story.branches.at(-1) ?? null);
    said("removed");
  }

  function refresh() {
    const isWriting = writing !== null;
    const has = branch !== null && branch.units.length > 0;
    stage.hidden = !has;
    blank.hidden = has;
    stop.hidden = !isWriting;
    goOn.hidden = !has;
    goOn.disabled = isWriting || !has || branch.isEnded;
    begin.disabled = isWriting;
    say(begin, has ? "beginAnother" : "begin");
    begin.classList.toggle("primary", !has);
    renew.hidden = !has || !branch.isEnded;
    fork.hidden = save.hidden = remove.hidden = !has;
    fork.disabled = save.disabled = load.disabled = isWriting;
    remove.disabled = isWriting || (has && story.children(branch).length > 0);
    view.element.classList.toggle("writing", isWriting && writing.branch === branch);
    if (isReady && !isWriting) keep();
    tree.show(branch);
  }

  return element;
}

function keptStory() {
  try {
    return sessionStorage.getItem(KEPT);
  } catch {
    return null;
  }
}
