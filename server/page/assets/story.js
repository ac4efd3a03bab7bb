// Branches of a text, each one a session of the server. Nothing here draws.
//
// A unit is what can be gone back to: one token, or several where only together they are whole characters. A branch's
// session may lag behind its text (`read` units of it): the next call's prompt then begins with what is missing.

import { Problem, bytes, call, events } from "./api.js";

const FORMAT = "rnnserve-branch/1";
const MOST_UNREAD = 16; // units
const BUSY_TRIES = 20; // of 100 ms, for a session whose call was just cancelled

/**
 * @typedef {Object} Unit
 * @property {string} text
 * @property {number} tokens
 * @property {number|null} logprob - natural logarithm of its probability; null where it was given
 */

export class Branch {
  /**
   * @param {Branch|null} parent
   * @param {number} from - units that it shares with its parent
   * @param {Unit[]} units
   * @param {string} session
   * @param {string} model - name/version
   */
  constructor(parent, from, units, session, model) {
    Object.assign(this, { parent, from, units, session, model, read: units.length, isEnded: false, number: 0 });
    this.isSure = true; // the session is known to have read `read` units: no call was cut off
    this.made = null; // its last call: {at, options, key, unknown}; `at` characters of the text were there before it
  }

  get tokens() {
    return numTokens(this.units);
  }

  get text() {
    return textOf(this.units);
  }

  /** What gives the last continuation again, without a session; null before the first one. */
  get call() {
    if (this.made === null) return null;
    return { model: this.model, prompt: this.text.slice(0, this.made.at), ...this.made.options, stream: true };
  }
}

const numTokens = (units) => units.reduce((sum, unit) => sum + unit.tokens, 0);
const listed = (units) => units.map(({ text, tokens, logprob }) => [text, tokens, logprob]);
const unlisted = (units) => units.map(([text, tokens, logprob]) => ({ text, tokens, logprob }));
const textOf = (units) => units.map((unit) => unit.text).join("");

/** Tokens, as the server shows them, joined to units of whole characters. */
export class Joiner {
  constructor() {
    this.#empty();
  }

  /** The unit that ends with this token, or null: it ends within a character. */
  push(token, logprob = null) {
    const inner = /^bytes:((?:\\x[0-9a-f]{2})+)$/.exec(token);
    this.content.push(
      ...(inner
        ? inner[1]
            .slice(2)
            .split("\\x")
            .map((digits) => parseInt(digits, 16))
        : new TextEncoder().encode(token)),
    );
    this.tokens += 1;
    if (logprob !== null) this.logprob = (this.logprob ?? 0) + logprob;
    return endsWithin(this.content) ? null : this.#unit();
  }

  /** What is left at the end of a text that ends within a character. */
  rest() {
    return this.tokens ? [this.#unit()] : [];
  }

  #unit() {
    const unit = {
      text: new TextDecoder().decode(Uint8Array.from(this.content)),
      tokens: this.tokens,
      logprob: this.logprob,
    };
    this.#empty();
    return unit;
  }

  #empty() {
    Object.assign(this, { content: [], tokens: 0, logprob: null });
  }
}

/** Whether bytes of UTF-8 end before their last character does. */
function endsWithin(content) {
  for (let back = 1; back <= Math.min(3, content.length); back++) {
    const byte = content[content.length - back];
    if (byte >= 0xc0) return back < (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2);
    if (byte < 0x80) return false;
  }
  return false;
}

/** The units of a text that the model is given. */
export async function unitsOf(model, text, signal) {
  const found = await call("POST", "tokenize", { model, prompt: text, return_token_strs: true }, signal);
  const characters = Array.from(text);
  if (characters.length === found.count) {
    return characters.map((character) => ({ text: character, tokens: 1, logprob: null })); // unknown ones, too
  }
  const joiner = new Joiner();
  const units = [...found.token_strs.map((token) => joiner.push(token)), ...joiner.rest()].filter(Boolean);
  return textOf(units) === text ? units : [{ text, tokens: found.count, logprob: null }];
}

const pause = () => new Promise((resolve) => setTimeout(resolve, 100));

/** Ask again while a cancelled call still has the session. */
async function patiently(ask) {
  for (let i = 1; ; i++) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof Problem) || error.code !== "session_busy" || i === BUSY_TRIES) throw error;
      await pause();
    }
  }
}

/** Let a branch's session keep its first tokens. */
async function rewind(branch, tokens) {
  branch.isSure = false;
  await patiently(() => call("POST", `v1/sessions/${branch.session}/rewind`, { to: tokens }));
  branch.isSure = true;
}

/** After a call that was cut off, which the server may have ended or not: the session goes back to what is known. */
async function settle(branch) {
  if (branch.isSure) return;
  await pause(); // so that the server learns that the call was cut off
  await rewind(branch, numTokens(branch.units.slice(0, branch.read)));
}

export class Story {
  constructor() {
    this.branches = [];
    this.numMade = 0; // branches, the removed ones too
  }

  /** What `restore` makes the story of again. */
  toJSON() {
    const branches = this.branches.map(({ number, parent, from, units, session, model, read, isEnded, made }) => ({
      number,
      parent: parent?.number ?? null,
      from,
      units: listed(units.slice(from)),
      session,
      model,
      read,
      isEnded,
      made,
    }));
    return { format: FORMAT, numMade: this.numMade, branches };
  }

  /** The branches of such a record. A session that has gone on since goes back; one that cannot has ended. */
  async restore({ format, numMade, branches }) {
    if (format !== FORMAT) return;
    for (const { number, parent, from, units, session, model, read, isEnded, made } of branches) {
      const owner = this.branches.find((other) => other.number === parent) ?? null;
      const whole = [...(owner?.units.slice(0, from) ?? []), ...unlisted(units)];
      const branch = new Branch(owner, from, whole, session, model);
      this.branches.push(Object.assign(branch, { number, read, isEnded, made: made ?? null }));
    }
    this.numMade = numMade;
    await Promise.all(this.branches.map(restored));
  }

  children(branch) {
    return this.branches.filter((other) => other.parent === branch);
  }

  /** A new text, with nothing in it. */
  async begin(model) {
    const made = await call("POST", "v1/sessions", { model });
    return this.#added(new Branch(null, 0, [], made.id, made.model));
  }

  /** A branch that goes on after the first units of another one. */
  async fork(branch, count) {
    await this.sync(branch);
    const made = await patiently(() => call("POST", `v1/sessions/${branch.session}/fork`, {}));
    let owner = branch; // what is shared with an ancestor leaves that one
    while (owner.parent !== null && count <= owner.from) owner = owner.parent;
    const forked = new Branch(owner, count, branch.units.slice(0, count), made.id, branch.model);
    if (count < branch.units.length) await rewind(forked, forked.tokens);
    return this.#added(forked);
  }

  /**
   * What a call that goes on must be: a prompt may not be empty, so without one the last unit is read again.
   * @returns {Promise<{body: Object, units: Unit[]}>} the call, and the units of its prompt
   */
  async prepared(branch, prompt, options) {
    await settle(branch);
    if (!prompt && branch.read === branch.units.length) await this.#unread(branch);
    const missing = branch.units.slice(branch.read);
    const units = prompt ? await unitsOf(branch.model, prompt) : [];
    const body = { session: branch.session, prompt: textOf(missing) + prompt, ...options };
    return { body, units };
  }

  /**
   * Let the model go on. The branch's text is not changed: who shows the units, as they are yielded, appends them.
   * @yields {{units: Unit[], seed: number, finish: string|null, usage: Object|undefined}}
   */
  async *write(branch, body, signal) {
    const joiner = new Joiner();
    branch.isSure = false;
    for await (const event of events("v1/generate", body, signal)) {
      const choice = event.choices[0];
      const { tokens, token_logprobs: logprobs } = choice.logprobs;
      const units = tokens.map((token, i) => joiner.push(token, logprobs[i])).filter((unit) => unit !== null);
      if (choice.finish_reason !== null) units.push(...joiner.rest());
      yield { units, seed: event.seed, finish: choice.finish_reason, usage: event.usage };
    }
  }

  /**
   * After a call that the server has ended: the session is where the branch's text ends.
   * @param {boolean} isWhole - the text has all that the call gave; else the session goes back
   */
  async keep(branch, isWhole) {
    branch.read = branch.units.length;
    if (isWhole) branch.isSure = true;
    else await rewind(branch, branch.tokens);
  }

  /** Let the session read what it lacks of the branch's text. @returns {Promise<number>} unknown characters of that */
  async sync(branch) {
    await settle(branch);
    const missing = branch.units.slice(branch.read);
    if (missing.length === 0) return 0;
    const text = textOf(missing);
    const body = { session: branch.session, prompt: text, max_tokens: 1 };
    const before = numTokens(branch.units.slice(0, branch.read));
    const units = await unitsOf(branch.model, text);
    branch.isSure = false;
    const answer = await patiently(() => call("POST", "v1/generate", body));
    await rewind(branch, before + answer.usage.prompt_tokens);
    units.forEach((unit, i) => {
      if (unit.text === missing[i]?.text) unit.logprob = missing[i].logprob;
    });
    branch.units.splice(branch.read, missing.length, ...units);
    branch.read = branch.units.length;
    return answer.usage.unknown_characters;
  }

  /** A new session with the text of one that has ended. */
  async renew(branch) {
    const made = await call("POST", "v1/sessions", { model: branch.model });
    Object.assign(branch, { session: made.id, read: 0, isEnded: false, isSure: true });
    await this.sync(branch);
  }

  /** Remove a branch that no other one leaves, and its session, which may have ended. */
  async remove(branch) {
    try {
      await call("DELETE", `v1/sessions/${branch.session}`);
    } catch (error) {
      if (!(error instanceof Problem) || !error.isSessionEnded) throw error;
    }
    this.forget(branch);
  }

  /** Leave a branch out, whatever becomes of its session. */
  forget(branch) {
    this.branches = this.branches.filter((other) => other !== branch);
  }

  /**
   * A file that a server with the same model and key can go on from.
   * A copy is exported: so to import it never takes back the branch, which may have gone on.
   */
  async exported(branch) {
    await this.sync(branch);
    const copy = await call("POST", `v1/sessions/${branch.session}/fork`, {});
    const state = await bytes(`v1/sessions/${copy.id}/state`);
    const record = { format: FORMAT, model: branch.model, session: copy.id, units: listed(branch.units) };
    return JSON.stringify({ ...record, state: base64(state) });
  }

  /** A branch from such a file. Throws Problem. */
  async imported(content) {
    const file = parsed(content);
    const state = Uint8Array.from(atob(file.state), (character) => character.charCodeAt(0));
    await call("PUT", `v1/sessions/${encodeURIComponent(file.session)}/state`, state);
    const made = await call("POST", `v1/sessions/${encodeURIComponent(file.session)}/fork`, {});
    const branch = new Branch(null, 0, unlisted(file.units), made.id, made.model);
    if (branch.tokens !== made.tokens) {
      await call("DELETE", `v1/sessions/${made.id}`);
      throw new Problem("fileWrong");
    }
    return this.#added(branch);
  }

  /** Let the session forget the last unit, or as many as are the same tokens when their text is read alone. */
  async #unread(branch) {
    for (let count = branch.units.length - 1; count >= Math.max(0, branch.units.length - MOST_UNREAD); count--) {
      const units = branch.units.slice(count);
      const again = textOf(units).includes("\ufffd") ? [] : await unitsOf(branch.model, textOf(units));
      if (numTokens(again) === numTokens(units)) {
        branch.read = count;
        await rewind(branch, numTokens(branch.units.slice(0, count)));
        return;
      }
    }
    throw new Problem("endsWithin");
  }

  #added(branch) {
    branch.number = ++this.numMade;
    this.branches.push(branch);
    return branch;
  }
}

async function restored(branch) {
  branch.isSure = false;
  try {
    await settle(branch);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    branch.isEnded = true; // it can be begun anew
  }
}

function base64(content) {
  let text = "";
  for (let i = 0; i < content.length; i += 8192) text += String.fromCharCode(...content.subarray(i, i + 8192));
  return btoa(text);
}

/** The file's record. Throws Problem: it is another file. */
function parsed(content) {
  let file = null;
  try {
    file = JSON.parse(content);
    atob(file.state);
  } catch {
    throw new Problem("fileWrong");
  }
  const isUnit = (unit) =>
    Array.isArray(unit) &&
    typeof unit[0] === "string" &&
    Number.isInteger(unit[1]) &&
    unit[1] > 0 &&
    (unit[2] === null || typeof unit[2] === "number");
  if (file.format !== FORMAT || typeof file.session !== "string" || !file.units?.length || !file.units.every(isUnit)) {
    throw new Problem("fileWrong");
  }
  return file;
}
