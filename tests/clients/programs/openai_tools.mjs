// OpenAI's client for Node.js: chat and responses, streams, the tool runner, parsed answers.
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
// settings: JavaScript; without arguments it reads the same variables
import OpenAI from "openai";

const { OPENAI_BASE_URL: baseURL, OPENAI_API_KEY: apiKey } = process.env;
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
// end of settings

const asked = JSON.parse(process.env.ASKED);
const model = "tide";
const user = (content) => [{ role: "user", content }];
const Tide = z.object({ harbour: z.string(), rising: z.boolean() });
const parameters = { type: "object", properties: { harbour: { type: "string" } }, required: ["harbour"] };

async function chat() {
  const hello = await client.chat.completions.create({ model, messages: user(asked.hello) });
  const pieces = [];
  await client.chat.completions
    .stream({ model, messages: user(asked.stream) })
    .on("content", (piece) => pieces.push(piece))
    .finalChatCompletion();
  const calls = [];
  const run = (input) => {
    calls.push(input);
    return asked.result;
  };
  const tide = { name: "tide_table", description: "When the tide turns.", parameters, function: run, parse: JSON.parse };
  const tools = [{ type: "function", function: tide }];
  const answer = await client.chat.completions.runTools({ model, messages: user(asked.tools), tools }).finalContent();
  const response_format = zodResponseFormat(Tide, "tide");
  const parsed = await client.chat.completions.parse({ model, messages: user(asked.structured), response_format });
  return {
    hello: hello.choices[0].message.content,
    stream: pieces,
    tools: { calls, answer },
    structured: { parse: parsed.choices[0].message.parsed },
  };
}

async function responses() {
  const hello = await client.responses.create({ model, input: asked.hello });
  const pieces = [];
  await client.responses
    .stream({ model, input: asked.stream })
    .on("response.output_text.delta", (event) => pieces.push(event.delta))
    .finalResponse();
  const tools = [{ type: "function", name: "tide_table", parameters, strict: false }];
  const first = await client.responses.create({ model, input: user(asked.tools), tools });
  const call = first.output.find((item) => item.type === "function_call");
  const result = { type: "function_call_output", call_id: call.call_id, output: asked.result };
  const last = await client.responses.create({ model, input: [...user(asked.tools), ...first.output, result], tools });
  const parsed = await client.responses.parse({
    model, input: asked.structured, text: { format: zodTextFormat(Tide, "tide") },
  });
  return {
    hello: hello.output_text,
    stream: pieces,
    tools: { calls: [JSON.parse(call.arguments)], answer: last.output_text },
    structured: { parse: parsed.output_parsed },
  };
}

console.log(JSON.stringify({ chat: await chat(), responses: await responses() }));
