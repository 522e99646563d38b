// Anthropic's client for Node.js: messages, streams, the tool runner, parsed answers.
import { z } from "zod";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
// settings: JavaScript; `ANTHROPIC_BASE_URL` is the address without `/v1`
import Anthropic from "@anthropic-ai/sdk";

const { ANTHROPIC_BASE_URL: baseURL, ANTHROPIC_API_KEY: apiKey } = process.env;
const client = new Anthropic({ baseURL, apiKey, maxRetries: 0 });
// end of settings

const asked = JSON.parse(process.env.ASKED);
const user = (content) => ({ model: "tide", max_tokens: 1000, messages: [{ role: "user", content }] });

const hello = await client.messages.create(user(asked.hello));
const pieces = [];
await client.messages.stream(user(asked.stream)).on("text", (piece) => pieces.push(piece)).finalMessage();

const calls = [];
const tideTable = betaZodTool({
  name: "tide_table",
  description: "When the tide turns.",
  inputSchema: z.object({ harbour: z.string() }),
  run: (input) => {
    calls.push(input);
    return asked.result;
  },
});
const last = await client.beta.messages.toolRunner({ ...user(asked.tools), tools: [tideTable] });

const Tide = z.object({ harbour: z.string(), rising: z.boolean() });
const parsed = await client.messages.parse({
  ...user(asked.structured), output_config: { format: zodOutputFormat(Tide) },
});

console.log(JSON.stringify({
  hello: hello.content[0].text,
  stream: pieces,
  tools: { calls, answer: last.content[0].text },
  structured: { parse: parsed.parsed_output },
}));
