// Requests to the server. Every failure is a Problem, which is a sentence.

import { say } from "./language.js";

const KEY = "rnnserve.key"; // of sessionStorage
let given = null; // where the browser keeps nothing

/** The API key that was typed in, or null. */
export function apiKey() {
  try {
    return sessionStorage.getItem(KEY) ?? given;
  } catch {
    return given;
  }
}

/** Keep an API key until the tab is closed. */
export function keepKey(key) {
  given = key;
  try {
    sessionStorage.setItem(KEY, key);
  } catch {
    // it holds until the page is left
  }
}

/** What went wrong, as a sentence of words.js. */
export class Problem extends Error {
  constructor(key, filling = {}, { status = 0, code = "", retryAfter = 0 } = {}) {
    super(filling.message ?? key);
    Object.assign(this, { key, filling, status, code, retryAfter });
  }

  /** Whether a session is no more. */
  get isSessionEnded() {
    return (this.status === 404 || this.status === 410) && this.code.startsWith("session_");
  }
}

const KEYS = { 400: "refused", 404: "refused", 409: "conflict", 413: "tooLarge", 422: "refused", 504: "tooSlow" };

async function problemOf(response) {
  let error = {};
  try {
    error = (await response.json()).error ?? {};
  } catch {
    // not of this server: a proxy's page, perhaps
  }
  const retryAfter = Number(response.headers.get("retry-after")) || 0;
  const details = { status: response.status, code: error.code ?? "", retryAfter };
  const filling = { message: error.message ?? `HTTP ${response.status}`, status: response.status };
  if (response.status === 401) {
    document.dispatchEvent(new Event("keyneeded"));
    return new Problem(apiKey() === null ? "keyNeeded" : "keyWrong", filling, details);
  }
  if (response.status === 429) {
    return new Problem(retryAfter ? "fullFor" : "full", { ...filling, seconds: retryAfter }, details);
  }
  if (response.status === 503) {
    return new Problem(details.code === "loading" ? "loading" : "unavailable", filling, details);
  }
  const problem = new Problem(KEYS[response.status] ?? "failed", filling, details);
  if (problem.isSessionEnded) problem.key = "sessionEnded";
  return problem;
}

async function answered(method, path, body, signal) {
  const headers = {};
  const key = apiKey();
  if (key !== null) headers.authorization = `Bearer ${key}`;
  const isBytes = body instanceof Uint8Array;
  if (body !== undefined) headers["content-type"] = isBytes ? "application/octet-stream" : "application/json";
  let response;
  try {
    const sent = body === undefined || isBytes ? body : JSON.stringify(body);
    response = await fetch(path, { method, headers, body: sent, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("network");
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

async function bodyOf(response, kind) {
  try {
    return await response[kind]();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("network");
  }
}

/** The JSON that the server answers with. Throws Problem, or AbortError by the signal. */
export async function call(method, path, body, signal) {
  return bodyOf(await answered(method, path, body, signal), "json");
}

/** The text that it answers with. */
export async function text(path, signal) {
  return bodyOf(await answered("GET", path, undefined, signal), "text");
}

/** The bytes that it answers with. */
export async function bytes(path) {
  return new Uint8Array(await bodyOf(await answered("GET", path), "arrayBuffer"));
}

/** The events of a stream, as they come. Throws Problem, or AbortError by the signal. */
export async function* events(path, body, signal) {
  const response = await answered("POST", path, body, signal);
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    let piece;
    try {
      piece = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem("cut");
    }
    if (piece.done) throw new Problem("cut");
    const parts = (rest + decoder.decode(piece.value, { stream: true })).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new Problem("refused", { message: event.error.message }, { code: event.error.code });
      yield event;
    }
  }
}

/**
 * Show what went wrong as a sentence; nothing for a request that was aborted.
 * @param {HTMLElement} element - a note with role alert; empty it with `clear`.
 */
export function showProblem(element, error) {
  if (error.name === "AbortError") return;
  const problem = error instanceof Problem ? error : new Problem("pageFailed", { message: error.message });
  if (!(error instanceof Problem)) console.error(error);
  element.hidden = false;
  say(element, problem.key, problem.filling);
}

/** Take a note back. */
export function clear(element) {
  element.hidden = true;
  element.textContent = "";
  delete element.dataset.t;
}

/** An empty note for what goes wrong. */
export function note(document_ = document) {
  const element = document_.createElement("p");
  element.className = "problem";
  element.setAttribute("role", "alert");
  element.hidden = true;
  return element;
}
