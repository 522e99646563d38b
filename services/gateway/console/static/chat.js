// The playground: a conversation in memory, one answer at a time.

import { chat, models, Refused } from "./api.js";
import { Answer } from "./answer.js";
import { curl } from "./curl.js";
import { $, el, say } from "./dom.js";
import { offer, request, valid } from "./parameters.js";
import { Turn } from "./turn.js";
import { count, rate, time, version } from "./words.js";

export class Chat {
  #conversation = [];
  #running = null;

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

  /** Nothing of one key's conversation is left for the next. */
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
    $("log").replaceChildren($("empty"));
    $("empty").hidden = false;
    $("facts").replaceChildren();
    say($("status"), "");
    $("prompt").focus();
  }

  async send() {
    const text = $("prompt").value.trim();
    if (!text || this.#running || !valid()) return;
    const asked = { role: "user", content: text };
    const conversation = this.#conversation;
    $("empty").hidden = true;
    const turns = [new Turn($("log"), "user", text), new Turn($("log"), "assistant")];
    write("");
    this.#begin();
    const answer = new Answer();
    try {
      await this.#read(answer, turns[1], request([...conversation, asked]));
      this.#ended(answer, turns[1], "");
    } catch (error) {
      if (error.name === "AbortError") this.#ended(answer, turns[1], "stopped");
      else this.#failed(answer, turns, error);
    }
    // What was never answered was never said: sent again, it would stand there twice.
    if (answer.text) conversation.push(asked, { role: "assistant", content: answer.text });
    this.#end();
  }

  async copy() {
    const draft = $("prompt").value.trim();
    const said = this.#conversation;
    if (!draft && !said.length) return say($("status"), "Write a message first.");
    const command = curl(request(draft ? [...said, { role: "user", content: draft }] : said.slice(0, -1)));
    try {
      await navigator.clipboard.writeText(command);
      say($("status"), "Copied. The command reads the key from OPENAI_API_KEY.");
    } catch {
      // No clipboard without HTTPS or permission: people copy it themselves.
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
    const said = (text) => {
      turn.add(text);
      say($("status"), "Answering");
      turn.tell(summary(answer));
    };
    await answer.read(stream, said, (news) => say($("status"), `Waiting: ${news}`));
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
    if (answer.text) return;
    asked.root.classList.add("unsent");
    if (!$("prompt").value) write(asked.text);
  }
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
