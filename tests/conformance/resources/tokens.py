"""`/tokenize`, `/detokenize`, and generation from tokens."""

from typing import Any

from tests.conformance.api import Api, expect, function, same


async def counts(api: Api) -> None:
    """`/tokenize` gives the tokens of a prompt, their number, and the length of the context."""
    answer = await api.post("/tokenize", prompt="The tide goes out.")
    same(len(answer["tokens"]), answer["count"], "count")
    expect(answer["max_model_len"] > 0, "max_model_len is not positive")


async def there_and_back(api: Api) -> None:
    """`/detokenize` gives back the text of `/tokenize`."""
    tokens = (await api.post("/tokenize", prompt="The tide goes out.", add_special_tokens=False))["tokens"]
    same((await api.post("/detokenize", tokens=tokens))["prompt"], "The tide goes out.", "the text")


async def chats(api: Api) -> None:
    """The tokens of a chat are those that a chat completion counts."""
    messages = [{"role": "user", "content": "Where does the tide go?"}]
    counted = (await api.post("/tokenize", messages=messages))["count"]
    same(counted, (await api.chat())["usage"]["prompt_tokens"], "count")


async def open_chats(api: Api) -> None:
    """`add_generation_prompt: false` leaves out what begins the answer."""
    messages = [{"role": "user", "content": "Hi."}]
    counts = [
        (await api.post("/tokenize", messages=messages, add_generation_prompt=begun))["count"]
        for begun in (False, True)
    ]
    expect(counts[0] < counts[1], f"the counts are {counts}")


async def tools(api: Api) -> None:
    """Tools may be given too."""
    await api.post("/tokenize", messages=[{"role": "user", "content": "Hi."}], tools=[function()])


async def texts(api: Api) -> None:
    """`return_token_strs` shows each token as the vocabulary writes it."""
    answer = await api.post("/tokenize", prompt="The tide", return_token_strs=True)
    same(len(answer["token_strs"]), answer["count"], "their number")


async def without_a_model(api: Api) -> None:
    """The model may be left out."""
    await api.post("/tokenize", prompt="The tide", model=None)


async def about_the_tokenizer(api: Api) -> None:
    """`/tokenizer_info` describes the tokenizer."""
    expect("tokenizer_class" in await api.get("/tokenizer_info"), "its class is missing")


async def generates(api: Api) -> None:
    """`/inference/v1/generate` continues tokens with tokens."""
    sampling: dict[str, Any] = {"max_tokens": 4, "temperature": 0, "ignore_eos": True}
    answer = await api.post("/inference/v1/generate", token_ids=[300, 301, 302], sampling_params=sampling)
    same(len(answer["choices"][0]["token_ids"]), 4, "the number of tokens")


async def prompt_and_messages(api: Api) -> None:
    """A prompt or messages are needed."""
    await api.refused("/tokenize")


async def tokens_beyond_the_vocabulary(api: Api) -> None:
    """A token id outside the vocabulary is refused."""
    await api.refused("/detokenize", tokens=[999_999_999])
