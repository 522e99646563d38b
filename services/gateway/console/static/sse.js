// Server-sent events as OpenAI streams them, from bytes as they arrive.

// An event of the gateway has a few hundred bytes. A server that sends this much without a line end is no gateway.
const MAX_LINE = 1 << 20;

/** Yields {data} for every event, parsed, and {comment} for news of the queue; ends at [DONE]. */
export async function* events(body) {
  for await (const line of lines(body)) {
    if (line.startsWith(":")) yield { comment: line.slice(1).trim() };
    if (!line.startsWith("data:")) continue;
    const data = line.slice(5).trim();
    if (data === "[DONE]") return;
    yield { data: JSON.parse(data) };
  }
  throw new Error("The stream ended before the answer did.");
}

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    if (rest.length > MAX_LINE) throw new Error("The stream has a line without an end.");
    yield* parts;
  }
}
