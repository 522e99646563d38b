"""`/v1/models`."""

from tests.conformance.api import Api, error_object, expect, same


async def lists(api: Api) -> None:
    """The list has the model, as OpenAI's clients read it."""
    listed = await api.get("/v1/models")
    same(listed["object"], "list", "object")
    [model] = [each for each in listed["data"] if each["id"] == api.target.model]
    same(model["object"], "model", "object of the model")
    expect(isinstance(model["created"], int), "created is no number")
    expect(bool(model["owned_by"]), "nobody owns it")


async def says_how_long_prompts_may_be(api: Api) -> None:
    """`max_model_len` is the length of the context, as vLLM's clients read it."""
    [model] = [each for each in (await api.get("/v1/models"))["data"] if each["id"] == api.target.model]
    expect(model["max_model_len"] > 0, "the length is not positive")


async def shows_one(api: Api) -> None:
    """`/v1/models/{model}` shows one model."""
    same((await api.get(f"/v1/models/{api.target.model}"))["id"], api.target.model, "id")


async def unknown_models(api: Api) -> None:
    """A model that nobody serves is a 404 whose message names it."""
    body = {"model": "no-such-model", "messages": [{"role": "user", "content": "Hi."}]}
    answer = await api.send("POST", "/v1/chat/completions", json=body)
    same(answer.status_code, 404, "the status")
    expect("no-such-model" in error_object(answer)["message"], answer.text[:200])


async def unknown_models_have_openais_code(api: Api) -> None:
    """The error of an unknown model has OpenAI's code `model_not_found`."""
    body = {"model": "no-such-model", "messages": [{"role": "user", "content": "Hi."}]}
    answer = await api.send("POST", "/v1/chat/completions", json=body)
    same(error_object(answer)["code"], "model_not_found", "code")
