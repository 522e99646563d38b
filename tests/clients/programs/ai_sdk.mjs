// The AI SDK: generateText, streamText, tools, output objects; over four of its providers.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, isStepCount, Output, streamText, tool } from "ai";
import { z } from "zod";
// settings: JavaScript; `createOpenAI` and `createAnthropic` (with `baseURL`, `apiKey`) work too
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";

const { OPENAI_BASE_URL: baseURL, OPENAI_API_KEY: apiKey } = process.env;
const tidegate = createOpenAICompatible({ name: "tidegate", baseURL, apiKey, supportsStructuredOutputs: true });
const model = tidegate("tide");
// end of settings

const asked = JSON.parse(process.env.ASKED);
const openai = createOpenAI({ baseURL, apiKey });
const anthropic = createAnthropic({
  baseURL: `${process.env.ANTHROPIC_BASE_URL}/v1`, apiKey: process.env.ANTHROPIC_API_KEY,
});
const Tide = z.object({ harbour: z.string(), rising: z.boolean() });

// `call` names the tool with which a provider asks for a structure, if it does.
async function told(model, call = "Tide") {
  const given = { model, maxRetries: 0 };
  const pieces = [];
  for await (const piece of streamText({ ...given, prompt: asked.stream }).textStream) pieces.push(piece);
  const calls = [];
  const tide_table = tool({
    description: "When the tide turns.",
    inputSchema: z.object({ harbour: z.string() }),
    execute: (input) => {
      calls.push(input);
      return asked.result;
    },
  });
  const round = await generateText({ ...given, prompt: asked.tools, tools: { tide_table }, stopWhen: isStepCount(3) });
  const parsed = await generateText({ ...given, prompt: asked.structured.replace("Tide", call), output: Output.object({ schema: Tide }) });
  return {
    hello: (await generateText({ ...given, prompt: asked.hello })).text,
    stream: pieces,
    tools: { calls, answer: round.text },
    structured: { object: parsed.output },
  };
}

console.log(JSON.stringify({
  "openai-compatible": await told(model),
  "openai chat": await told(openai.chat("tide")),
  "openai responses": await told(openai.responses("tide")),
  anthropic: await told(anthropic("tide"), "json"),
}));
