// The commands that make exactly the call that the page has made: for a shell, and for Python's standard library.

import { apiKey } from "./api.js";
import { el } from "./dom.js";
import { label, say } from "./language.js";

const address = (path) => new URL(path, document.baseURI).href;
const quoted = (text) => `'${text.replace(/'/g, `'\\''`)}'`; // for a POSIX shell

/** A value as Python writes it; a JSON string is a Python string. */
function python(value, indent = "") {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map((item) => python(item, indent)).join(", ")}]`;
  const inner = `${indent}    `;
  const lines = Object.entries(value).map(([key, item]) => `${inner}${JSON.stringify(key)}: ${python(item, inner)},\n`);
  return `{\n${lines.join("")}${indent}}`;
}

/** The command for a shell. */
export function curlOf({ path, body, stream = false }) {
  const key = apiKey() === null ? "" : `  -H "authorization: Bearer $RNNSERVE_KEY" \\\n`;
  const sent = quoted(JSON.stringify(body));
  const call = `curl -s${stream ? "N" : ""} ${quoted(address(path))}`;
  return `${call} \\\n${key}  -H 'content-type: application/json' \\\n  -d ${sent}`;
}

/** The program for Python. */
export function pythonOf({ path, body, stream = false }) {
  const hasKey = apiKey() !== null;
  const lines = [
    "import json",
    ...(hasKey ? ["import os"] : []),
    "import urllib.request",
    "",
    `body = ${python(body)}`,
    `headers = {"content-type": "application/json"}`,
    ...(hasKey ? [`headers["authorization"] = "Bearer " + os.environ["RNNSERVE_KEY"]`] : []),
    `request = urllib.request.Request(${JSON.stringify(address(path))}, json.dumps(body).encode(), headers)`,
    "with urllib.request.urlopen(request) as answer:",
    ...(stream
      ? [
          "    for line in answer:",
          `        if line.startswith(b"data: {"):`,
          `            print(json.loads(line[6:])["choices"][0]["text"], end="", flush=True)`,
        ]
      : ["    print(json.load(answer))"]),
  ];
  return lines.join("\n");
}

/** A box that shows a call; `show(call)` fills it, `hide()` takes it away. */
export function codeBox() {
  const pre = el("pre", { tabindex: "0" });
  const choices = { curl: curlOf, python: pythonOf };
  let chosen = "curl";
  let last = null;
  const tab = (name, text) =>
    el("button", { type: "button", "aria-pressed": String(name === chosen), onclick: () => choose(name) }, text);
  const buttons = { curl: tab("curl", "curl"), python: tab("python", "Python") };
  const copy = say(el("button", { type: "button", class: "copy", onclick: () => copied() }), "copy");
  const element = el(
    "details",
    { class: "code", hidden: true },
    say(el("summary"), "theCall"),
    el("div", { class: "row" }, buttons.curl, buttons.python, copy),
    pre,
  );
  label(pre, "theCall");

  function choose(name) {
    chosen = name;
    for (const [key, button] of Object.entries(buttons)) button.setAttribute("aria-pressed", String(key === name));
    if (last !== null) pre.textContent = choices[chosen](last);
  }

  async function copied() {
    try {
      await navigator.clipboard.writeText(pre.textContent);
    } catch {
      // allowed on https and this machine only; elsewhere the text is selected, to be copied by hand
      getSelection().selectAllChildren(pre);
      say(copy, "selected");
      return;
    }
    say(copy, "copied");
    setTimeout(() => say(copy, "copy"), 1500);
  }

  return {
    element,
    show(made) {
      last = made;
      element.hidden = false;
      say(copy, "copy");
      choose(chosen);
    },
    hide() {
      element.hidden = true;
    },
  };
}
