"""Endpoints of models that embed, rank or classify."""

from tests.conformance.api import Api, same


async def embeds(api: Api) -> None:
    """`/v1/embeddings` embeds a text."""
    answer = await api.post("/v1/embeddings", input="high tide")
    same((answer["object"], len(answer["data"])), ("list", 1), "object and number")


async def pools(api: Api) -> None:
    """`/pooling` gives the model's hidden states."""
    await api.post("/pooling", input="high tide")


async def scores(api: Api) -> None:
    """`/score` compares two texts."""
    await api.post("/score", text_1="high tide", text_2="low tide")


async def ranks(api: Api) -> None:
    """`/rerank` ranks documents."""
    await api.post("/rerank", query="tide", documents=["high tide", "low tide"])


async def classifies(api: Api) -> None:
    """`/classify` names the class of a text."""
    await api.post("/classify", input="high tide")
