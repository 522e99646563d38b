// The playground: a conversation in memory, one reply at a time.

import { chat, models, Refused } from "./api.js";
import { Reply } from "./reply.js";
import { curl } from "./curl.js";
import { $, el, say } from "./dom.js";
import { isJson, offer, request, valid } from "./parameters.js";
import { Message } from "./message.js";
import { count, rate, time, version } from "./format.js";

export class Chat {
  #conversation = [];
  #running = null;
  /** Calls of the last reply that wait for results. The next message is the result of the first one. */
  #calls = [];

  constructor() {
    $("composer").addEventListener("submit", (event) => (event.preventDefault(), this.send()));
    $("parameters").addEventListener("submit", (event) => event.preventDefault());
    $("prompt").addEventListener("keydown", (event) => this.#key(event));
    $("prompt").addEventListener("input", grow);
    $("stop").addEventListener("click", () => this.stop());
    $("clear").addEventListener("click", () => this.clear());
    $("curl").addEventListener("click", () => this.copy());
  }

  async open() {
    $("prompt").focus();
    try {
      offer(await models());
      say($("status"), $("model").value ? "" : "No model is served yet.");
    } catch (error) {
      say($("status"), words(error));
    }
  }

  close() {}

  /** Clears the conversation, so that the next key sees nothing of it. */
  forget() {
    this.clear();
    offer([]);
    for (const form of ["composer", "parameters"]) $(form).reset();
  }

  stop() {
    this.#running?.abort();
  }

  clear() {
    this.stop();
    this.#conversation = [];
    this.#await([]);
    $("log").replaceChildren($("empty"));
    $("empty").hidden = false;
    $("facts").replaceChildren();
    say($("status"), "");
    $("prompt").focus();
  }

  async send() {
    const text = $("prompt").value.trim();
    if (!text || this.#running || !valid()) return;
    const [call, ...others] = this.#calls;
    const asked = call ? { role: "tool", tool_call_id: call.id, content: text } : { role: "user", content: text };
    const conversation = this.#conversation;
    $("empty").hidden = true;
    write("");
    const turn = new Message($("log"), asked.role, text);
    if (others.length) return conversation.push(asked), this.#await(others);
    const turns = [turn, new Message($("log"), "assistant")];
    this.#begin();
    const answer = new Reply();
    try {
      await this.#read(answer, turns[1], request([...conversation, asked]));
      this.#ended(answer, turns[1], "");
    } catch (error) {
      if (error.name === "AbortError") this.#ended(answer, turns[1], "stopped");
      else this.#failed(answer, turns, error);
    }
    // A message without a reply is removed. Otherwise it would be there twice when it is sent again.
    if (answer.text || whole(answer.calls)) this.#keep(conversation, asked, answer);
    this.#end();
  }

  #keep(conversation, asked, { text, calls }) {
    const made = whole(calls) ? { tool_calls: calls } : {};
    conversation.push(asked, { role: "assistant", content: text || null, ...made });
    // Another conversation may have begun meanwhile.
    if (conversation === this.#conversation) this.#await(made.tool_calls ?? []);
  }

  #await(calls) {
    this.#calls = calls;
    $("prompt").placeholder = calls.length ? `Result of ${calls[0].function.name}` : "Message";
  }

  async copy() {
    const draft = $("prompt").value.trim();
    const said = this.#conversation;
    if (!draft && !said.length) return say($("status"), "Write a message first.");
    const [call] = this.#calls;
    const next = call ? { role: "tool", tool_call_id: call.id } : { role: "user" };
    const command = curl(request(draft ? [...said, { ...next, content: draft }] : said.slice(0, -1)));
    try {
      await navigator.clipboard.writeText(command);
      say($("status"), "Copied. The command reads the key from OPENAI_API_KEY.");
    } catch {
      // There is no clipboard without HTTPS or permission; then people copy the text themselves.
      $("curl-text").value = command;
      $("curl-dialog").showModal();
      $("curl-text").select();
    }
  }

  #key(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.send();
  }

  #begin() {
    this.#running = new AbortController();
    busy(true);
    say($("status"), "Waiting for a worker");
  }

  #end() {
    this.#running = null;
    busy(false);
  }

  async #read(answer, turn, body) {
    const stream = await chat(body, this.#running.signal);
    const grew = ({ content, reasoning_content: reasoning, tool_calls: calls }) => {
      if (reasoning) turn.think(reasoning);
      if (content) turn.add(content);
      for (const call of calls ?? []) turn.call(call);
      say($("status"), content || calls ? "Answering" : "Thinking");
      turn.tell(summary(answer));
    };
    await answer.read(stream, grew, (news) => say($("status"), `Waiting: ${news}`));
  }

  #ended(answer, turn, how) {
    if (!turn.root.isConnected) return;
    turn.end([how, summary(answer)].filter(Boolean).join(" · "));
    say($("status"), how ? "Stopped" : "");
    tell(answer);
  }

  #failed(answer, [asked, turn], error) {
    turn.end(words(error), true);
    say($("status"), "");
    tell(answer);
    if (answer.text || whole(answer.calls)) return;
    asked.root.classList.add("unsent");
    if (!$("prompt").value) write(asked.text);
  }
}

/** A reply that broke off may end within a call, which no server would accept. */
function whole(calls) {
  return calls.length > 0 && calls.every(({ function: { arguments: text } }) => isJson(text));
}

function busy(running) {
  // Focus on a button that vanishes would fall back to the start of the page.
  if ([$("send"), $("stop")].includes(document.activeElement)) $("prompt").focus();
  $("send").hidden = running;
  $("stop").hidden = !running;
}

function write(text) {
  $("prompt").value = text;
  grow();
}

function grow() {
  const { style } = $("prompt");
  style.height = "auto";
  style.height = `${$("prompt").scrollHeight + 2}px`;
}

function summary({ timing, tokens, usage }) {
  if (timing.ttft === null) return "";
  const speed = timing.rate(tokens);
  return [`${count(tokens)}${usage ? "" : "+"} tokens`, speed && `${rate(speed)} tokens/s`, `TTFT ${time(timing.ttft)}`]
    .filter(Boolean)
    .join(" · ");
}

function tell(answer) {
  const { usage, timing } = answer;
  const cached = usage?.prompt_tokens_details?.cached_tokens;
  const facts = {
    "Time to first token": time(timing.ttft),
    "Tokens/s": rate(timing.rate(answer.tokens)),
    "In all": time(1000 * timing.seconds),
    Prompt: usage && `${count(usage.prompt_tokens)} tokens${cached ? `, ${count(cached)} cached` : ""}`,
    Answer: `${usage ? "" : "at least "}${count(answer.tokens)} tokens`,
    "Ended by": answer.finish,
    "Tier served": answer.tier,
    "Model version": answer.version && version(answer.version),
  };
  const rows = Object.entries(facts).filter(([, value]) => value);
  const long = answer.requestId ? [el("dt", { class: "long" }, "Request id"), el("dd", { class: "long" }, answer.requestId)] : [];
  $("facts").replaceChildren(...rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]), ...long);
}

function words(error) {
  if (!(error instanceof Refused)) return `The answer broke off: ${error.message}`;
  const again = error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
  return error.message + again;
}
