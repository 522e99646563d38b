"""Log probabilities of tokens as OpenAI's endpoints show them."""

from collections.abc import Iterable
from typing import Any

from tidegate.worker.v1 import worker_pb2


def chat(tokens: Iterable[worker_pb2.TokenLogprob]) -> dict[str, Any] | None:
    """Returns log probabilities as a chat completion shows them; None when there are none."""
    content = response(tokens)
    return {"content": content, "refusal": None} if content else None


def response(tokens: Iterable[worker_pb2.TokenLogprob]) -> list[dict[str, Any]]:
    """Returns log probabilities as the Responses API shows them."""
    return [{**_chosen(token), "top_logprobs": [_chosen(top) for top in token.top]} for token in tokens]


def _chosen(token: worker_pb2.TokenLogprob | worker_pb2.TopLogprob) -> dict[str, Any]:
    return {"token": _text(token.token), "logprob": token.logprob, "bytes": list(token.token)}


class CompletionLogprobs:
    """Log probabilities of one choice of a completion: parallel lists, with each token's offset in the text."""

    def __init__(self) -> None:
        self._offset = 0

    def take(self, tokens: Iterable[worker_pb2.TokenLogprob]) -> dict[str, Any] | None:
        """Returns the log probabilities of the next tokens; None when there are none."""
        lists: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for token in tokens:
            text = _text(token.token)
            lists["tokens"].append(text)
            lists["token_logprobs"].append(token.logprob)
            lists["top_logprobs"].append({_text(top.token): top.logprob for top in token.top})
            lists["text_offset"].append(self._offset)
            self._offset += len(text)
        return lists if lists["tokens"] else None


def _text(token: bytes) -> str:
    return token.decode(errors="replace")
