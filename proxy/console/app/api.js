// Calls of the API. A lost connection and an ended session are told to the whole console once;
// reading waits for both to mend and goes on, writing fails with a sentence.

import { apiUrl } from "./address.js";
import { signal } from "./html.js";
import { t } from "./strings.js";

/** A failure with a sentence for a person; `status` 0 means that no answer came. */
export class ApiError extends Error {
  constructor(message, { status = 0, code = null, body = null, retryAfterSeconds = null } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.body = body;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** "" while the server answers, else why it does not. */
export const outage = signal("");

/** Null while the caller is known, else why a log-in is needed: {sentence, expired}. */
export const lockedOut = signal(null);

const KEY = "proxy-console-key";
const waiting = { outage: null, login: null };
let wasIn = false;

/** Return the key that this tab sends; empty where a cookie or nothing is enough. */
export const sentKey = () => sessionStorage.getItem(KEY) ?? "";

/** Send a key from now on, in this tab only. */
export function keepKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

/** Say that the caller is known (again): calls that waited go on. */
export function letIn() {
  wasIn = true;
  lockedOut.value = null;
  waiting.login?.resolve();
  waiting.login = null;
}

/** Show the log-in; the promise ends once somebody is in. */
export function askForLogin(sentence) {
  lockedOut.value ??= { sentence, expired: wasIn };
  if (!waiting.login) {
    waiting.login = {};
    waiting.login.promise = new Promise((resolve) => (waiting.login.resolve = resolve));
  }
  return waiting.login.promise;
}

/** Wait until the server answers again, asking it more and more rarely. */
export function reachable() {
  waiting.outage ??= (async () => {
    outage.value ||= t("outage.lost");
    for (let seconds = 0.5; ; seconds = Math.min(8, seconds * 2)) {
      await Promise.race([pause(seconds * 1000), event("online")]);
      try {
        const answer = await fetch(apiUrl("health"), { cache: "no-store" });
        if (answer.ok) break;
        outage.value = (await answer.json()).detail ?? t("outage.lost");
      } catch {
        outage.value = t("outage.lost");
      }
    }
    outage.value = "";
    waiting.outage = null;
  })();
  return waiting.outage;
}

export const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

const event = (name) => new Promise((done) => addEventListener(name, done, { once: true }));

/** Return the headers that say who asks. */
export function credentials() {
  const key = sentKey();
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/**
 * Fetch, and return the answer when it is a good one.
 *
 * `body` is sent as JSON. With `patient`, which reading is by itself, a lost connection is
 * waited for. A 401 shows the log-in and asks again afterwards.
 */
export async function request(method, path, options = {}) {
  const { query, body, headers = {}, signal: abort, patient = method === "GET" } = options;
  for (;;) {
    let answer;
    try {
      answer = await fetch(apiUrl(path, query), {
        method,
        signal: abort,
        headers: {
          ...credentials(),
          ...(body === undefined ? {} : { "Content-Type": "application/json" }),
          ...headers,
        },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      const back = reachable();
      if (!patient) throw new ApiError(t("outage.notSent"));
      await back;
      continue;
    }
    if (answer.ok) return answer;
    const failure = await failureOf(answer);
    if (answer.status !== 401) throw failure;
    await askForLogin(failure.message);
    if (abort?.aborted) throw new DOMException("", "AbortError");
  }
}

/** Read a refusal. */
export async function failureOf(answer) {
  let body = null;
  try {
    body = await answer.json();
  } catch {
    // A proxy in between answered in its own way.
  }
  return new ApiError(body?.detail ?? t("error.status", { status: answer.status }), {
    status: answer.status,
    code: body?.error?.code ?? null,
    body,
    retryAfterSeconds: Number(answer.headers.get("Retry-After")) || null,
  });
}

const json = async (answer) => (await answer).json();

export const get = (path, query, options) => json(request("GET", path, { query, ...options }));
export const post = (path, body, options) => json(request("POST", path, { body, ...options }));
export const put = (path, body, options) => json(request("PUT", path, { body, ...options }));
export const remove = (path, query, options) =>
  json(request("DELETE", path, { query, ...options }));
