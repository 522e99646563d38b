"""Log probabilities of tokens as OpenAI's endpoints show them."""

from collections.abc import Iterable
from typing import Any

from tidegate.worker.v1 import worker_pb2


def chat(tokens: Iterable[worker_pb2.TokenLogprob]) -> dict[str, Any] | None:
    content = response(tokens)
    return {"content": content, "refusal": None} if content else None


def response(tokens: Iterable[worker_pb2.TokenLogprob]) -> list[dict[str, Any]]:
    return [{**_chosen(token), "top_logprobs": [_chosen(top) for top in token.top]} for token in tokens]


def _chosen(token: worker_pb2.TokenLogprob | worker_pb2.TopLogprob) -> dict[str, Any]:
    return {"token": _text(token.token), "logprob": token.logprob, "bytes": list(token.token)}


class CompletionLogprobs:
    """The older shape: parallel lists, with each token's offset in the text of its choice."""

    def __init__(self) -> None:
        self._offset = 0

    def take(self, tokens: Iterable[worker_pb2.TokenLogprob]) -> dict[str, Any] | None:
        shown: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for token in tokens:
            text = _text(token.token)
            shown["tokens"].append(text)
            shown["token_logprobs"].append(token.logprob)
            shown["top_logprobs"].append({_text(top.token): top.logprob for top in token.top})
            shown["text_offset"].append(self._offset)
            self._offset += len(text)
        return shown if shown["tokens"] else None


def _text(token: bytes) -> str:
    return token.decode(errors="replace")
