"""`/v1/chat/completions`, streamed: framing, order, usage."""

from tests.conformance.api import Api, error_object, expect, question, same

LONG = {"ignore_eos": True, "max_tokens": 8}


async def is_the_answer(api: Api) -> None:
    """The joined chunks are the answer that is not streamed."""
    whole = (await api.chat(**LONG))["choices"][0]["message"]["content"]
    chunks = await api.chat_chunks(**LONG)
    joined = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    same(joined, whole, "the joined text")


async def chunks(api: Api) -> None:
    """All chunks have one id, the model and their kind; the first names the role."""
    found = await api.chat_chunks(**LONG)
    same({chunk["object"] for chunk in found}, {"chat.completion.chunk"}, "object")
    same({chunk["model"] for chunk in found}, {api.target.model}, "model")
    same(len({chunk["id"] for chunk in found}), 1, "the number of ids")
    same(found[0]["choices"][0]["delta"]["role"], "assistant", "the role in the first chunk")


async def ends_once(api: Api) -> None:
    """Each choice ends once, with its reason."""
    found = await api.chat_chunks(**LONG, n=2, temperature=1)
    ends = [(c["index"], c["finish_reason"]) for chunk in found for c in chunk["choices"] if c.get("finish_reason")]
    same(sorted(ends), [(0, "length"), (1, "length")], "the ends")


async def finish_reasons_are_always_there(api: Api) -> None:
    """Every choice of a chunk has `finish_reason`, though null."""
    found = await api.chat_chunks(**LONG)
    expect(all("finish_reason" in c for chunk in found for c in chunk["choices"]), "it is missing in a chunk")


async def no_usage(api: Api) -> None:
    """Token counts come only if they are asked for."""
    found = await api.chat_chunks(**LONG)
    expect(not any(chunk.get("usage") for chunk in found), "a chunk has usage")


async def usage(api: Api) -> None:
    """`include_usage` adds a last chunk without choices, which has the token counts."""
    *others, last = await api.chat_chunks(**LONG, stream_options={"include_usage": True})
    same((last["choices"], last["usage"]["completion_tokens"]), ([], 8), "choices and completion_tokens")
    expect(not any(chunk.get("usage") for chunk in others), "another chunk has usage")


async def continuous_usage(api: Api) -> None:
    """With `continuous_usage_stats` each chunk counts the tokens so far."""
    options = {"include_usage": True, "continuous_usage_stats": True}
    counts = [chunk["usage"]["completion_tokens"] for chunk in await api.chat_chunks(**LONG, stream_options=options)]
    same((counts, counts[-1]), (sorted(counts), 8), "the counts, and the last one")


async def options_need_a_stream(api: Api) -> None:
    """`stream_options` without `stream` is refused."""
    await api.chat_refused(stream_options={"include_usage": True})


async def logprobs(api: Api) -> None:
    """Log probabilities come with the tokens they belong to."""
    found = await api.chat_chunks(**LONG, logprobs=True, top_logprobs=1)
    entries = [e for chunk in found for c in chunk["choices"] if c.get("logprobs") for e in c["logprobs"]["content"]]
    same(len(entries), 8, "the number of entries")


async def token_ids(api: Api) -> None:
    """`return_token_ids` shows tokens in a stream too; those of the prompt come first."""
    found = await api.chat_chunks(**LONG, return_token_ids=True)
    expect(bool(found[0].get("prompt_token_ids")), "the first chunk has no tokens of the prompt")
    tokens = [token for chunk in found for c in chunk["choices"] for token in c.get("token_ids") or ()]
    same(len(tokens), 8, "the number of tokens")


async def refusals_are_no_streams(api: Api) -> None:
    """A request that is refused gets a status and an error object, also if it asked for a stream."""
    body = {"model": api.target.model, **question("Hi.", {"stream": True, "temperature": -1})}
    answer = await api.send("POST", "/v1/chat/completions", json=body)
    same(answer.status_code, 400, "the status")
    error_object(answer)


async def not_cached(api: Api) -> None:
    """No proxy may keep a stream."""
    body = {"model": api.target.model, **question("Hi.", {"stream": True})}
    answer = await api.send("POST", "/v1/chat/completions", json=body)
    expect("no-cache" in answer.headers.get("cache-control", ""), "cache-control does not say no-cache")
