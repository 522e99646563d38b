// OpenAI's own client for Node.js: answers, streams, tools, parsed answers, errors.
const OpenAI = require("openai");
const { zodResponseFormat } = require("openai/helpers/zod");
const { z } = require("zod");

const openai = new OpenAI({ maxRetries: 0 });
const Tide = z.object({ harbour: z.enum(["Bergen", "Brest"]), rising: z.boolean() });
const capital = [{ role: "user", content: "What is the capital of Japan?" }];
const brest = [{ role: "user", content: "Is the tide rising in Brest?" }];
const bounded = { max_completion_tokens: 200, frequency_penalty: 1 };

async function main() {
  const model = (await openai.models.list()).data[0].id;
  const whole = await openai.chat.completions.create({ model, messages: capital, temperature: 0, max_tokens: 20 });

  let streamed = "";
  const stream = await openai.chat.completions.create({
    model, messages: capital, temperature: 0, max_tokens: 20, stream: true,
  });
  for await (const chunk of stream) streamed += chunk.choices[0]?.delta?.content ?? "";

  const schema = z.toJSONSchema(Tide);
  const tool = { type: "function", function: { name: "tide_table", parameters: schema, strict: true } };
  const called = await openai.chat.completions
    .stream({ model, messages: brest, tools: [tool], tool_choice: "required", ...bounded })
    .finalChatCompletion();
  const call = called.choices[0].message.tool_calls[0].function;

  const parsed = await openai.chat.completions.parse({
    model, messages: brest, response_format: zodResponseFormat(Tide, "tide"), ...bounded,
  });
  const response = await openai.responses.create({ model, input: capital[0].content, max_output_tokens: 20, temperature: 0 });
  const error = await openai.chat.completions
    .create({ model: "nobody", messages: capital })
    .then(() => "none", (reason) => reason.constructor.name);

  return {
    whole: whole.choices[0].message.content,
    streamed,
    responded: response.output_text,
    tokens: whole.usage.completion_tokens,
    called: { name: call.name, arguments: JSON.parse(call.arguments) },
    parsed: parsed.choices[0].message.parsed,
    error,
  };
}

main().then((told) => console.log(JSON.stringify(told)));
