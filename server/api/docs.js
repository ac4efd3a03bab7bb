// What makes the forms of /docs send. Answers are shown as text alone, and nothing is kept when the page is left.
"use strict";

const base = location.origin + location.pathname.replace(/\/docs\/*$/, "");
const key = document.getElementById("key");

function pythonOf(value) {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(pythonOf).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  return `{${Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${pythonOf(item)}`).join(", ")}}`;
}

function requestOf(form) {
  let path = form.dataset.path;
  const query = new URLSearchParams();
  const headers = {};
  if (key.value) headers.authorization = `Bearer ${key.value}`;
  for (const field of form.querySelectorAll("[data-in]")) {
    const value = field.value.trim();
    if (field.dataset.in === "path") {
      path = path.replace(`{${field.name}}`, encodeURIComponent(value).replaceAll("%2F", "/"));
    } else if (value && field.dataset.in === "query") {
      query.append(field.name, value);
    } else if (value) {
      headers[field.name] = value;
    }
  }
  const area = form.elements.body;
  const file = form.elements.file;
  let body;
  if (area && area.value.trim()) {
    headers["content-type"] = "application/json";
    body = area.value;
  } else if (file && file.files.length) {
    headers["content-type"] = "application/octet-stream";
    body = file.files[0];
  }
  const rest = query.toString();
  return { url: base + path + (rest ? `?${rest}` : ""), method: form.dataset.method, headers, body };
}

// The curl and Python of exactly what the form would send; a key is not shown.
function showCalls(form) {
  const { url, method, headers, body } = requestOf(form);
  if (headers.authorization) headers.authorization = "Bearer KEY";
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const names = Object.entries(headers).filter(([name]) => name !== "content-type" || body instanceof File);
  const text = typeof body === "string" ? body : "";
  const isStream = /"stream"\s*:\s*true/.test(text);
  const curl = [isStream ? "curl -sN" : "curl -s", method === "GET" || (method === "POST" && body) ? "" : `-X ${method}`, quoted(url)];
  for (const [name, value] of names) curl.push(`-H ${quoted(`${name}: ${value}`)}`);
  if (text) curl.push(`-d ${quoted(text)}`);
  if (body instanceof File) curl.push(`--data-binary ${quoted(`@${body.name}`)}`);
  let sent = "";
  if (text) {
    try {
      sent = `, json=${/\d{17}/.test(text) ? `json.loads(${JSON.stringify(text)})` : pythonOf(JSON.parse(text))}`;
    } catch {
      sent = `, content=${JSON.stringify(text)}`;
    }
  } else if (body) {
    sent = `, content=open(${JSON.stringify(body.name)}, "rb").read()`;
  }
  if (names.length) sent += `, headers=${pythonOf(Object.fromEntries(names))}`;
  const asked = `"${method}", ${JSON.stringify(url)}${sent}, timeout=60`;
  const call = isStream
    ? `with httpx.stream(${asked}) as events:\n    for line in events.iter_lines():\n        print(line)`
    : `answer = httpx.request(${asked})\nprint(answer.status_code, answer.text)`;
  const show = form.closest("section").querySelector.bind(form.closest("section"));
  show(".curl").textContent = curl.filter(Boolean).join(" ");
  show(".python").textContent =
    `${sent.includes("json.loads") ? "import json\n\n" : ""}import httpx\n\n${call}`;
}

function pretty(text) {
  try {
    return /\d{17}/.test(text) ? text : JSON.stringify(JSON.parse(text), null, 1); // larger numbers would be rounded
  } catch {
    return text;
  }
}

async function send(form) {
  const { url, ...options } = requestOf(form);
  const output = form.querySelector("output");
  const [status, headers, answer] = output.children;
  const stop = form.querySelector("[name=stop]");
  const controller = new AbortController();
  const started = performance.now();
  output.hidden = false;
  status.className = "";
  status.textContent = "Sent.";
  headers.textContent = answer.textContent = "";
  stop.disabled = false;
  stop.onclick = () => controller.abort();
  const seconds = () => `${((performance.now() - started) / 1000).toFixed(2)} s`;
  try {
    const found = await fetch(url, { ...options, signal: controller.signal, credentials: "omit", redirect: "error" });
    const kind = found.headers.get("content-type") || "";
    const line = `${found.status} ${found.statusText}`;
    status.className = found.ok ? "" : "failed";
    status.textContent = `${line}, ${seconds()}`;
    headers.textContent = [...found.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    if (kind.startsWith("text/event-stream")) {
      const reader = found.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let piece = await reader.read(); !piece.done; piece = await reader.read()) answer.append(piece.value);
    } else if (kind.startsWith("application/octet-stream")) {
      const link = document.createElement("a");
      const blob = await found.blob();
      link.href = URL.createObjectURL(blob);
      link.download = "state.bin";
      link.textContent = `Save ${blob.size} bytes`;
      answer.append(link);
    } else {
      answer.textContent = pretty(await found.text());
    }
    status.textContent = `${line}, ${seconds()}`;
  } catch (error) {
    status.className = "failed";
    status.textContent =
      error.name === "AbortError" ? `Stopped after ${seconds()}.` : `No answer: ${error.message}. Is the server running?`;
  } finally {
    stop.disabled = true;
  }
}

for (const form of document.querySelectorAll("form[data-path]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form);
  });
  form.addEventListener("input", () => showCalls(form));
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  showCalls(form);
}
key.addEventListener("input", () => document.querySelectorAll("form[data-path]").forEach(showCalls));
