// One streamed reply, read from its first byte to its last: its text, its tool calls, and its figures.

import { Refused } from "./api.js";
import { Timing } from "./timing.js";

export class Reply {
  constructor() {
    this.timing = new Timing();
    this.text = this.reasoning = "";
    this.calls = [];
    this.usage = this.tier = this.finish = this.requestId = null;
    this.version = "";
  }

  /** Tokens of the reply. Until usage comes at the end, this is a lower bound: the number of pieces so far. */
  get tokens() {
    return this.usage?.completion_tokens ?? this.timing.pieces;
  }

  /** @param {{headers, events}} stream  @param {(delta) => void} grew  @param {(news: string) => void} queued */
  async read({ headers, events }, grew, queued) {
    this.requestId = headers.get("x-request-id");
    const version = headers.get("x-tidegate-model-version");
    if (version !== "none") this.version = version;
    for await (const { data, comment } of events) {
      if (comment !== undefined) queued(comment);
      else this.#take(data, grew);
    }
  }

  #take(data, grew) {
    if (data.error) throw new Refused(200, data.error.message, { code: data.error.code });
    this.tier = data.service_tier ?? this.tier;
    // Headers that were sent while the request was queued could not name the version yet.
    this.version ||= (data.system_fingerprint ?? "").replace(/^fp_/, "");
    this.usage = data.usage ?? this.usage;
    const choice = data.choices[0];
    this.finish = choice?.finish_reason ?? this.finish;
    const { content, reasoning_content: reasoning, tool_calls: calls } = choice?.delta ?? {};
    if (!content && !reasoning && !calls) return;
    this.timing.piece();
    this.text += content ?? "";
    this.reasoning += reasoning ?? "";
    for (const piece of calls ?? []) this.#call(piece);
    grew(choice.delta);
  }

  /** Only the first piece of a call has its id and name. */
  #call({ index, id, function: { name, arguments: text } }) {
    const call = (this.calls[index] ??= { id, type: "function", function: { name, arguments: "" } });
    call.function.arguments += text ?? "";
  }
}
