// The gateway's REST API, as any client uses it.

import * as session from "./session.js";
import { events } from "./sse.js";

/** What went wrong, as the gateway or the network says it. */
export class Refused extends Error {
  /** status: 0 when the gateway was not reached. */
  constructor(status, message, { code = null, retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { status, code, retryAfter });
  }
}

/** Returns why a key is refused; "" if it is accepted. */
export async function refusal(key) {
  try {
    await answered("/v1/models", { headers: bearer(key) });
    return "";
  } catch (error) {
    if (error instanceof Refused) return error.message;
    throw error;
  }
}

export const models = async () => (await (await ask("/v1/models")).json()).data;

export const cluster = async (signal) => (await ask("/v1/admin/cluster", { signal })).json();

/**
 * A streamed answer: its headers, and its events as they come.
 * @returns {Promise<{headers: Headers, events: AsyncGenerator<{data?: object, comment?: string}>}>}
 */
export async function chat(body, signal) {
  const headers = { "content-type": "application/json" };
  const response = await ask("/v1/chat/completions", { method: "POST", headers, body: JSON.stringify(body), signal });
  return { headers: response.headers, events: events(response.body) };
}

/** Sends the session's key. After a 401, the page asks for another key. */
async function ask(path, options = {}) {
  try {
    return await answered(path, { ...options, headers: { ...options.headers, ...bearer(session.key()) } });
  } catch (error) {
    if (error instanceof Refused && error.status === 401) session.ask(error.message);
    throw error;
  }
}

// A header can hold no other characters, so a key that has any is wrong.
const bearer = (key) => ({ authorization: `Bearer ${(key ?? "").replace(/[^\x21-\x7e]/g, "?")}` });

async function answered(path, options) {
  const response = await fetch(path, { cache: "no-store", credentials: "omit", ...options }).catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The gateway cannot be reached.");
  });
  if (response.ok) return response;
  throw await told(response);
}

async function told(response) {
  const error = (await response.json().catch(() => ({}))).error ?? {};
  return new Refused(response.status, error.message ?? `The gateway answered ${response.status}.`, {
    code: error.code,
    retryAfter: response.headers.get("retry-after"),
  });
}
