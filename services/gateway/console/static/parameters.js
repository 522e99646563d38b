// The parameters of a request beside its messages. An empty field is not sent, so the model's own default holds.

import { $ } from "./dom.js";

const NUMBERS = { temperature: "temperature", top_p: "top-p", max_tokens: "max-tokens", seed: "seed" };

/** Returns whether all fields are in range. If not, the first wrong field says why. */
export function valid() {
  const tools = $("tools");
  const wrong = tools.value.trim() && !isJson(tools.value);
  tools.setCustomValidity(wrong ? "Tools are a JSON list, as OpenAI's API takes it." : "");
  if (wrong) tools.closest("details").open = true;
  return $("parameters").reportValidity();
}

export function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Body of POST /v1/chat/completions for a conversation. */
export function request(conversation) {
  const system = $("system").value.trim();
  const body = {
    model: $("model").value,
    messages: system ? [{ role: "system", content: system }, ...conversation] : conversation,
    stream: true,
    stream_options: { include_usage: true },
    service_tier: $("tier").value,
  };
  for (const [field, id] of Object.entries(NUMBERS)) {
    if ($(id).value !== "") body[field] = $(id).valueAsNumber;
  }
  if ($("tools").value.trim()) {
    body.tools = JSON.parse($("tools").value);
    body.tool_choice = $("tool-choice").value;
  }
  return body;
}

/** Offers these models and keeps the chosen one, if it is still there. */
export function offer(models) {
  const select = $("model");
  const chosen = select.value;
  select.replaceChildren(...models.map(({ id }) => new Option(id, id, false, id === chosen)));
}
