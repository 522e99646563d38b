r"""Log probabilities of tokens as OpenAI's endpoints show them.

A token may be a part of a character. Its `bytes` are then its own bytes only, and its text names them as OpenAI does:
`\xf0\x9f`, in completions `bytes:\xf0\x9f`. The bytes of all tokens, joined, are the text.
"""

import codecs
from collections.abc import Iterable
from typing import Any

from tidegate.worker.v1 import worker_pb2

_Decoder = codecs.getincrementaldecoder("utf-8")


def chat(tokens: Iterable[worker_pb2.TokenLogprob]) -> dict[str, Any] | None:
    """Returns log probabilities as a chat completion shows them; None when there are none."""
    content = response(tokens)
    return {"content": content, "refusal": None} if content else None


def response(tokens: Iterable[worker_pb2.TokenLogprob]) -> list[dict[str, Any]]:
    """Returns log probabilities as the Responses API shows them."""
    return [{**_chosen(token), "top_logprobs": [_chosen(top) for top in token.top]} for token in tokens]


def _chosen(token: worker_pb2.TokenLogprob | worker_pb2.TopLogprob) -> dict[str, Any]:
    return {"token": _escaped(token.token), "logprob": token.logprob, "bytes": list(token.token)}


class CompletionLogprobs:
    """Log probabilities of one choice of a completion: parallel lists, with each token's offset in the text."""

    def __init__(self) -> None:
        self._offset = 0
        # Tells which character of the text a token's bytes belong to.
        self._decoder = _Decoder("replace")

    def take(
        self, tokens: Iterable[worker_pb2.TokenLogprob], prompt: Iterable[worker_pb2.TokenLogprob] = ()
    ) -> dict[str, Any] | None:
        """Returns the log probabilities of the next tokens; None when there are none.

        The likeliest tokens always include the chosen one. A token that goes on with a character has its offset.

        Args:
            tokens: of the answer.
            prompt: all tokens of an echoed prompt, which come before; the first of them has no probability.
        """
        lists: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for index, token in enumerate((*prompt, *tokens) if prompt else tokens):
            text = _named(token.token)
            lists["tokens"].append(text)
            is_first = bool(prompt) and not index
            lists["token_logprobs"].append(None if is_first else token.logprob)
            lists["top_logprobs"].append(None if is_first else _likeliest(text, token))
            lists["text_offset"].append(self._offset)
            self._offset += len(self._decoder.decode(token.token))
        return lists if lists["tokens"] else None


def prompt_positions(tokens: Iterable[worker_pb2.TokenLogprob]) -> list[dict[str, Any] | None]:
    """Returns `prompt_logprobs` as vLLM shows them: at each position its token and the likeliest, by token id."""
    return [_position(token) if index else None for index, token in enumerate(tokens)]


def by_id(tokens: Iterable[worker_pb2.TokenLogprob]) -> list[dict[str, Any]]:
    """Returns log probabilities as vLLM's tokens-out endpoint shows them: by token id, the chosen token first."""
    return [
        {**_numbered(token, token.rank or None), "top_logprobs": _candidates(token)[: max(1, len(token.top))]}
        for token in tokens
    ]


def _candidates(token: worker_pb2.TokenLogprob) -> list[dict[str, Any]]:
    others = [_numbered(top, rank) for rank, top in enumerate(token.top, start=1) if top.token_id != token.token_id]
    return [_numbered(token, token.rank or None), *others]


def _numbered(token: worker_pb2.TokenLogprob | worker_pb2.TopLogprob, rank: int | None) -> dict[str, Any]:
    return {"token_id": token.token_id, "logprob": token.logprob, "rank": rank}


def _position(token: worker_pb2.TokenLogprob) -> dict[str, Any]:
    shown = {str(token.token_id): _ranked(token, token.rank or None)}
    for index, top in enumerate(token.top, start=1):
        shown.setdefault(str(top.token_id), _ranked(top, index))
    return shown


def _ranked(token: worker_pb2.TokenLogprob | worker_pb2.TopLogprob, rank: int | None) -> dict[str, Any]:
    return {"logprob": token.logprob, "rank": rank, "decoded_token": _escaped(token.token)}


def _likeliest(text: str, token: worker_pb2.TokenLogprob) -> dict[str, float]:
    likeliest = {_named(top.token): top.logprob for top in token.top}
    likeliest.setdefault(text, token.logprob)
    return likeliest


def _escaped(token: bytes) -> str:
    return token.decode(errors="backslashreplace")


def _named(token: bytes) -> str:
    try:
        return token.decode()
    except UnicodeDecodeError:
        return f"bytes:{_escaped(token)}"
