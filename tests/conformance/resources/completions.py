"""`/v1/completions`."""

from typing import Any

from tests.conformance.api import Api, expect, same, without_done

LONG = {"ignore_eos": True, "max_tokens": 8}


async def answers(api: Api) -> None:
    """An answer has all properties that OpenAI's clients read."""
    answer = await api.complete(ignore_eos=True)
    expect(answer["id"].startswith("cmpl-"), f"the id is {answer['id']}")
    same((answer["object"], answer["model"]), ("text_completion", api.target.model), "object and model")
    [choice] = answer["choices"]
    same((choice["index"], choice["finish_reason"]), (0, "length"), "index and finish_reason")
    expect(bool(choice["text"]), "there is no text")
    usage = answer["usage"]
    same(usage["total_tokens"], usage["prompt_tokens"] + 5, "total_tokens")


async def streams(api: Api) -> None:
    """The joined chunks are the answer that is not streamed; it ends once."""
    whole = (await api.complete(**LONG))["choices"][0]["text"]
    chunks = without_done(await api.events("/v1/completions", prompt="The tide", temperature=0, **LONG))
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    same("".join(choice["text"] for choice in choices), whole, "the joined text")
    ends = [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]
    same(ends, ["length"], "the ends")


async def stream_usage(api: Api) -> None:
    """`include_usage` adds a last chunk without choices, which has the token counts."""
    asked: dict[str, Any] = {"prompt": "The tide", "temperature": 0, "stream_options": {"include_usage": True}, **LONG}
    last = without_done(await api.events("/v1/completions", **asked))[-1]
    same((last["choices"], last["usage"]["completion_tokens"]), ([], 8), "choices and completion_tokens")


async def default_limit(api: Api) -> None:
    """Without `max_tokens`, or with null, an answer has at most 16 tokens."""
    for limit in ({}, {"max_tokens": None}):
        answer = await api.post("/v1/completions", prompt="The tide", temperature=0, ignore_eos=True, **limit)
        found = answer["usage"]["completion_tokens"], answer["choices"][0]["finish_reason"]
        same(found, (16, "length"), "completion_tokens and finish_reason")


async def min_tokens_beyond_the_default(api: Api) -> None:
    """Without `max_tokens`, `min_tokens` above 16 is no contradiction."""
    answer = await api.complete(max_tokens=None, min_tokens=20)
    same(answer["usage"]["completion_tokens"], 20, "completion_tokens")


async def a_limit_beyond_what_is_left(api: Api) -> None:
    """`max_tokens` is a bound: what the prompt leaves of the context is enough."""
    limit = await api.context()
    answer = await api.complete([300, 301], max_tokens=limit, stop=["a", "e", "t", " "])
    same((answer["usage"]["prompt_tokens"], answer["choices"][0]["finish_reason"]), (2, "stop"), "tokens and reason")


async def a_limit_beyond_the_context(api: Api) -> None:
    """`max_tokens` above the whole context is refused."""
    await api.refused("/v1/completions", prompt=[300, 301], max_tokens=await api.context() + 1)


async def prompts_of_tokens(api: Api) -> None:
    """A prompt may be a list of token ids."""
    answer = await api.complete([300, 301, 302])
    same(answer["usage"]["prompt_tokens"], 3, "prompt_tokens")


async def a_list_of_one(api: Api) -> None:
    """A prompt may be a list of one text or of one list of tokens."""
    await api.complete(["The tide"])
    await api.complete([[300, 301]])


async def several_prompts(api: Api) -> None:
    """Several prompts give their choices in order."""
    answer = await api.complete(["The tide", "The tide"], **LONG)
    same([choice["index"] for choice in answer["choices"]], [0, 1], "the indices")
    first, second = answer["choices"]
    same(second["text"], first["text"], "the second text")


async def several_prompts_and_choices(api: Api) -> None:
    """With several prompts and `n`, the choices of the first prompt come first."""
    answer = await api.complete(["The tide", "A ship"], n=2, temperature=1)
    same([choice["index"] for choice in answer["choices"]], [0, 1, 2, 3], "the indices")


async def several_choices(api: Api) -> None:
    """`n` choices come with their indices."""
    answer = await api.complete(n=3, temperature=1, **LONG)
    same(sorted(choice["index"] for choice in answer["choices"]), [0, 1, 2], "the indices")


async def echo(api: Api) -> None:
    """`echo` puts the prompt before the text."""
    expect((await api.complete(echo=True))["choices"][0]["text"].startswith("The tide"), "the prompt is missing")


async def echo_alone(api: Api) -> None:
    """`max_tokens: 0` with `echo` gives the prompt alone."""
    answer = await api.complete(echo=True, max_tokens=0)
    same((answer["choices"][0]["text"], answer["usage"]["completion_tokens"]), ("The tide", 0), "text and tokens")


async def echo_with_logprobs(api: Api) -> None:
    """The log probabilities of an echoed prompt come first; its first token has none."""
    answer = await api.complete(echo=True, logprobs=1)
    logprobs = answer["choices"][0]["logprobs"]
    same(len(logprobs["tokens"]), answer["usage"]["total_tokens"], "the number of tokens")
    same(logprobs["token_logprobs"][0], None, "the first one")


async def no_logprobs(api: Api) -> None:
    """Log probabilities come only if they are asked for."""
    same((await api.complete())["choices"][0]["logprobs"], None, "logprobs")


async def logprobs_alone(api: Api) -> None:
    """`logprobs: 0` shows the sampled tokens alone."""
    logprobs = (await api.complete(logprobs=0))["choices"][0]["logprobs"]
    same(len(logprobs["top_logprobs"][0]), 1, "the number of entries")


async def logprobs(api: Api) -> None:
    """`logprobs: 5` shows five tokens, or six where the sampled one is another."""
    answer = await api.complete(logprobs=5, **LONG)
    logprobs = answer["choices"][0]["logprobs"]
    same(len(logprobs["token_logprobs"]), 8, "the number of tokens")
    expect(all(5 <= len(top) <= 6 for top in logprobs["top_logprobs"]), "not five or six tokens")
    same("".join(logprobs["tokens"]), answer["choices"][0]["text"], "the joined tokens")


async def text_offsets(api: Api) -> None:
    """`text_offset` says where each token begins in the text."""
    choice = (await api.complete(logprobs=0, **LONG))["choices"][0]
    found, text = choice["logprobs"], choice["text"]
    for token, offset in zip(found["tokens"], found["text_offset"], strict=True):
        same(text[offset : offset + len(token)], token, f"the text at {offset}")


async def too_many_logprobs(api: Api) -> None:
    """Too many of the likeliest tokens are refused."""
    await api.refused("/v1/completions", prompt="The tide", logprobs=1000)


async def prompt_logprobs(api: Api) -> None:
    """`prompt_logprobs` has an entry for each token of the prompt."""
    answer = await api.complete([300, 301, 302], prompt_logprobs=1)
    same(len(answer["choices"][0]["prompt_logprobs"]), 3, "their number")


async def stops(api: Api) -> None:
    """A stop string ends the text, and is not a part of it."""
    whole = (await api.complete(**LONG))["choices"][0]["text"]
    stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
    [choice] = (await api.complete(**LONG, stop=stop))["choices"]
    same((choice["finish_reason"], choice["text"]), ("stop", whole[: whole.index(stop)]), "reason and text")


async def stops_in_a_stream(api: Api) -> None:
    """No part of a stop string gets into a stream."""
    whole = (await api.complete(**LONG))["choices"][0]["text"]
    stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
    asked: dict[str, Any] = {"prompt": "The tide", "temperature": 0, "stop": [stop], **LONG}
    chunks = without_done(await api.events("/v1/completions", **asked))
    text = "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])
    same(text, whole[: whole.index(stop)], "the text")


async def token_ids(api: Api) -> None:
    """`return_token_ids` shows the tokens of prompt and text."""
    [choice] = (await api.complete([300, 301], return_token_ids=True, **LONG))["choices"]
    same((choice["prompt_token_ids"], len(choice["token_ids"])), ([300, 301], 8), "the tokens")


async def best_of(api: Api) -> None:
    """`best_of` chooses among more candidates than `n`."""
    answer = await api.complete(n=1, best_of=2, temperature=1)
    same(len(answer["choices"]), 1, "the number of choices")


async def suffix(api: Api) -> None:
    """A `suffix` for a model that cannot fill in is refused."""
    await api.refused("/v1/completions", prompt="The", suffix=" goes out.", statuses=(400, 501))


async def an_empty_prompt(api: Api) -> None:
    """An empty prompt is refused."""
    await api.refused("/v1/completions", prompt="")


async def no_prompt(api: Api) -> None:
    """A prompt is needed."""
    await api.refused("/v1/completions")


async def tokens_beyond_the_vocabulary(api: Api) -> None:
    """A token id outside the vocabulary is refused."""
    await api.refused("/v1/completions", prompt=[999_999_999])


async def negative_tokens(api: Api) -> None:
    """A negative token id is refused."""
    await api.refused("/v1/completions", prompt=[1, -1])


async def embedded_prompts(api: Api) -> None:
    """`prompt_embeds` is refused where it is switched off."""
    await api.refused("/v1/completions", prompt_embeds="AAAA", prompt="x")


async def truncated_prompts(api: Api) -> None:
    """`truncate_prompt_tokens` keeps the last tokens of a prompt."""
    answer = await api.complete([300, 301, 302, 303], truncate_prompt_tokens=2)
    same(answer["usage"]["prompt_tokens"], 2, "prompt_tokens")


async def special_tokens(api: Api) -> None:
    """`add_special_tokens: false` leaves the tokenizer's own tokens out of the prompt."""
    await api.complete(add_special_tokens=False)
