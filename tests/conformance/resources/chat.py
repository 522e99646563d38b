"""`/v1/chat/completions`, not streamed."""

from typing import Any

from tests.conformance.api import Api, expect, question, same

LONG = {"ignore_eos": True, "max_tokens": 8}


async def answers(api: Api) -> None:
    """An answer has all properties that OpenAI's clients read."""
    answer = await api.chat(ignore_eos=True, max_tokens=5)
    expect(answer["id"].startswith("chatcmpl-"), f"the id is {answer['id']}")
    same(answer["object"], "chat.completion", "object")
    same(answer["model"], api.target.model, "model")
    expect(isinstance(answer["created"], int), "created is no number")
    [choice] = answer["choices"]
    same((choice["index"], choice["finish_reason"]), (0, "length"), "index and finish_reason")
    same(choice["message"]["role"], "assistant", "role")
    expect(bool(choice["message"]["content"]), "there is no content")
    usage = answer["usage"]
    same(usage["completion_tokens"], 5, "completion_tokens")
    same(usage["total_tokens"], usage["prompt_tokens"] + 5, "total_tokens")


async def required_properties(api: Api) -> None:
    """`refusal` of a message and `logprobs` of a choice are there, though null."""
    [choice] = (await api.chat())["choices"]
    expect("refusal" in choice["message"] and "logprobs" in choice, f"{list(choice)}, {list(choice['message'])}")
    same((choice["message"]["refusal"], choice["logprobs"]), (None, None), "refusal and logprobs")


async def no_tool_calls_without_tools(api: Api) -> None:
    """A message without calls has no `tool_calls`, or an empty list."""
    message = (await api.chat())["choices"][0]["message"]
    expect(not message.get("tool_calls"), "there are calls")


async def max_completion_tokens(api: Api) -> None:
    """`max_completion_tokens` limits the answer."""
    answer = await api.chat(max_tokens=None, max_completion_tokens=3, ignore_eos=True)
    same(answer["usage"]["completion_tokens"], 3, "completion_tokens")


async def the_same_at_temperature_zero(api: Api) -> None:
    """Two answers without chance are the same."""
    first, second = [(await api.chat(**LONG))["choices"][0]["message"]["content"] for _ in range(2)]
    same(second, first, "the second answer")


async def a_seed_repeats(api: Api) -> None:
    """The same seed, which may have 64 bits, gives the same answer."""
    for seed in (42, 2**63 - 1):
        asked = {**LONG, "temperature": 1, "seed": seed}
        first, second = [(await api.chat(**asked))["choices"][0]["message"]["content"] for _ in range(2)]
        same(second, first, f"the second answer with seed {seed}")


async def several_choices(api: Api) -> None:
    """`n` choices come with their indices, and each one is counted."""
    answer = await api.chat(n=3, temperature=1, ignore_eos=True, max_tokens=4)
    same(sorted(choice["index"] for choice in answer["choices"]), [0, 1, 2], "the indices")
    same(answer["usage"]["completion_tokens"], 12, "completion_tokens")


async def several_choices_at_temperature_zero(api: Api) -> None:
    """`n` choices may be asked for at temperature 0 too."""
    same(len((await api.chat(n=2, max_tokens=4))["choices"]), 2, "the number of choices")


async def stops(api: Api) -> None:
    """A stop string ends the answer, and is not a part of it."""
    whole = (await api.chat(**LONG))["choices"][0]["message"]["content"]
    stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
    [choice] = (await api.chat(**LONG, stop=[stop]))["choices"]
    same(choice["finish_reason"], "stop", "finish_reason")
    same(choice["message"]["content"], whole[: whole.index(stop)], "the text")


async def sixteen_stops(api: Api) -> None:
    """There may be 16 stop strings."""
    await api.chat(stop=[f"<{number}>" for number in range(16)])


async def names_what_stopped(api: Api) -> None:
    """`stop_reason` is the stop string, and `include_stop_str_in_output` shows it in the text."""
    whole = (await api.chat(**LONG))["choices"][0]["message"]["content"]
    stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
    [choice] = (await api.chat(**LONG, stop=stop, include_stop_str_in_output=True))["choices"]
    same(choice["stop_reason"], stop, "stop_reason")
    expect(choice["message"]["content"].endswith(stop), "the text does not end with it")


async def stop_tokens(api: Api) -> None:
    """A token of `stop_token_ids` ends the answer."""
    tokens = (await api.chat(**LONG, return_token_ids=True))["choices"][0]["token_ids"]
    [choice] = (await api.chat(**LONG, stop_token_ids=[tokens[2]]))["choices"]
    same((choice["finish_reason"], choice["stop_reason"]), ("stop", tokens[2]), "finish_reason and stop_reason")


async def min_tokens(api: Api) -> None:
    """An answer has at least `min_tokens`."""
    answer = await api.chat(min_tokens=6, max_tokens=6)
    same(answer["usage"]["completion_tokens"], 6, "completion_tokens")


async def token_ids(api: Api) -> None:
    """`return_token_ids` shows the tokens of prompt and answer."""
    answer = await api.chat(**LONG, return_token_ids=True)
    same(len(answer["prompt_token_ids"]), answer["usage"]["prompt_tokens"], "the length of prompt_token_ids")
    same(len(answer["choices"][0]["token_ids"]), 8, "the length of token_ids")


async def allowed_tokens(api: Api) -> None:
    """Only tokens of `allowed_token_ids` are generated."""
    [choice] = (await api.chat(**LONG, allowed_token_ids=[300, 301], return_token_ids=True))["choices"]
    expect(set(choice["token_ids"]) <= {300, 301}, f"the tokens are {choice['token_ids']}")


async def logit_bias(api: Api) -> None:
    """A bias of 100 is as good as a command."""
    answer = await api.chat(max_tokens=1, logit_bias={"300": 100}, logprobs=True)
    expect(answer["usage"]["completion_tokens"] == 1, "there is not one token")


async def logit_bias_of_words(api: Api) -> None:
    """A key of `logit_bias` that is no token id is refused."""
    await api.chat_refused(logit_bias={"hello": 1})


async def penalties(api: Api) -> None:
    """Penalties, `top_p`, `top_k`, `min_p` and `repetition_penalty` are taken."""
    await api.chat(presence_penalty=0.5, frequency_penalty=-0.5, top_p=0.9, top_k=20, min_p=0.1, repetition_penalty=1.1)


async def all_tokens(api: Api) -> None:
    """`top_k` of -1 means all tokens."""
    await api.chat(top_k=-1)


async def no_logprobs(api: Api) -> None:
    """Log probabilities come only if they are asked for."""
    same((await api.chat())["choices"][0].get("logprobs"), None, "logprobs")


async def logprobs(api: Api) -> None:
    """Each token has its log probability, its bytes, and the likeliest others."""
    answer = await api.chat(**LONG, logprobs=True, top_logprobs=5)
    entries = answer["choices"][0]["logprobs"]["content"]
    same(len(entries), 8, "the number of entries")
    for entry in entries:
        expect(entry["logprob"] <= 0, f"a log probability of {entry['logprob']}")
        expect(len(entry["top_logprobs"]) >= 5, f"{len(entry['top_logprobs'])} of 5 others")
    joined = b"".join(bytes(entry["bytes"]) for entry in entries).decode()
    same(joined, answer["choices"][0]["message"]["content"], "the joined bytes")


async def logprobs_alone(api: Api) -> None:
    """`top_logprobs: 0` gives the log probabilities of the sampled tokens alone."""
    entries = (await api.chat(**LONG, logprobs=True, top_logprobs=0))["choices"][0]["logprobs"]["content"]
    same([entry["top_logprobs"] for entry in entries], [[]] * 8, "top_logprobs")


async def too_many_logprobs(api: Api) -> None:
    """More than 20 of the likeliest tokens are refused."""
    await api.chat_refused(logprobs=True, top_logprobs=21)


async def top_logprobs_need_logprobs(api: Api) -> None:
    """`top_logprobs` without `logprobs` is refused."""
    await api.chat_refused(top_logprobs=5)


async def prompt_logprobs(api: Api) -> None:
    """`prompt_logprobs` has an entry for each token of the prompt; the first is null."""
    answer = await api.chat(prompt_logprobs=1)
    same(len(answer["prompt_logprobs"]), answer["usage"]["prompt_tokens"], "their number")
    same(answer["prompt_logprobs"][0], None, "the first one")


async def prompt_logprobs_in_a_stream(api: Api) -> None:
    """`prompt_logprobs` in a stream are refused."""
    await api.chat_refused(prompt_logprobs=1, stream=True)


async def text_parts(api: Api) -> None:
    """Content may be a list of texts."""
    parts = [{"type": "text", "text": "Where does"}, {"type": "text", "text": " the tide go?"}]
    await api.chat(parts)


async def roles(api: Api) -> None:
    """System, developer, assistant and tool turns are read."""
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How is the weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "It rains."},
        {"role": "assistant", "content": "It rains.", "refusal": None},
        {"role": "user", "content": "And now?", "name": "alice"},
    ]
    await api.chat(messages=messages)


async def developer(api: Api) -> None:
    """A developer message is read like a system message."""
    await api.chat(messages=[{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi."}])


async def reasoning_of_before(api: Api) -> None:
    """The reasoning of an earlier answer may be sent back."""
    said = {"role": "assistant", "content": "Out.", "reasoning_content": "Hm.", "reasoning": "Hm."}
    asked = {"role": "user", "content": "Where does the tide go?"}
    await api.chat(messages=[asked, said, asked])


async def roles_of_ones_own(api: Api) -> None:
    """A role that only the model's template knows is taken."""
    await api.chat(messages=[{"role": "my-role", "content": "Hi."}])


async def unknown_fields(api: Api) -> None:
    """Unknown fields are accepted, at the top and within messages."""
    await api.chat(
        messages=[{"role": "user", "content": [{"type": "text", "text": "Hi.", "opts": 1}], "cache": True}],
        a_hint={"x": [None]},
    )


async def unknown_fields_are_named(api: Api) -> None:
    """The answer names the fields that were left out."""
    body = {"model": api.target.model, **question("Hi.", {"a_hint": 1})}
    answer = await api.send("POST", "/v1/chat/completions", json=body)
    expect("a_hint" in answer.headers.get("x-tidegate-ignored", ""), "no header names the hint")


async def labels(api: Api) -> None:
    """Fields that only label or hint are accepted."""
    labels: dict[str, Any] = {
        "user": "u",
        "metadata": {"a": "b"},
        "store": False,
        "service_tier": "auto",
        "parallel_tool_calls": True,
        "verbosity": "low",
        "prompt_cache_key": "k",
        "safety_identifier": "s",
        "reasoning_effort": "low",
        "modalities": ["text"],
    }
    await api.chat(**labels)


async def nulls(api: Api) -> None:
    """Null is not set, whatever the field."""
    fields = ("stop", "n", "tools", "tool_choice", "seed", "response_format", "logprobs", "stream_options", "top_p")
    await api.chat(**dict.fromkeys(fields))


async def template_variables(api: Api) -> None:
    """`chat_template_kwargs` reach the model's template."""
    await api.chat(chat_template_kwargs={"enable_thinking": False})


async def templates_of_clients(api: Api) -> None:
    """A template that a client sends does not run."""
    error = await api.chat_refused(chat_template="{{ messages[0].content }}")
    expect(bool(error), "there is no error")


async def continues_the_last_message(api: Api) -> None:
    """`continue_final_message` goes on with the assistant's last words."""
    begun = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "One, two,"}]
    asked = {"messages": begun, "add_generation_prompt": False, "continue_final_message": True}
    expect(bool((await api.chat(**asked))["choices"][0]["message"]["content"]), "there is no text")


async def echo(api: Api) -> None:
    """`echo` of a chat puts the begun message before its continuation."""
    begun = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "One, two,"}]
    asked = {"messages": begun, "add_generation_prompt": False, "continue_final_message": True, "echo": True}
    content = (await api.chat(**asked))["choices"][0]["message"]["content"]
    expect(content.startswith("One, two,"), f"it begins with {content[:20]!r}")


async def truncated_prompts(api: Api) -> None:
    """`truncate_prompt_tokens` keeps the last tokens of a prompt."""
    answer = await api.chat(truncate_prompt_tokens=5)
    same(answer["usage"]["prompt_tokens"], 5, "prompt_tokens")


async def documents(api: Api) -> None:
    """`documents` reach the model's template."""
    await api.chat(documents=[{"title": "Tides", "text": "They go out."}])


async def images(api: Api) -> None:
    """An image for a model that only reads text is refused."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    await api.chat_refused(messages=[{"role": "user", "content": [{"type": "text", "text": "?"}, image]}])


async def cache_salt(api: Api) -> None:
    """A `cache_salt` is accepted."""
    await api.chat(cache_salt="salt")


async def token_ids_instead_of_texts(api: Api) -> None:
    """`return_tokens_as_token_ids` names tokens in log probabilities by their ids."""
    answer = await api.chat(logprobs=True, return_tokens_as_token_ids=True)
    token = answer["choices"][0]["logprobs"]["content"][0]["token"]
    expect(token.startswith("token_id:"), f"a token is named {token!r}")


async def beam_search(api: Api) -> None:
    """`use_beam_search` is taken."""
    await api.chat(use_beam_search=True, n=2)


async def priority(api: Api) -> None:
    """vLLM's number `priority` is accepted."""
    await api.chat(priority=0)
