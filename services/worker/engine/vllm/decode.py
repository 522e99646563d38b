"""One choice's tokens as text, in vLLM's own detokenizer, token by token: those that come and those resumed from alike.

So the text is a function of the tokens, however many came at once and whichever worker made them.
"""

from dataclasses import dataclass
from typing import Any

from vllm.sampling_params import SamplingParams
from vllm.v1.engine import EngineCoreRequest
from vllm.v1.engine.detokenizer import FastIncrementalDetokenizer, IncrementalDetokenizer

from services.worker.engine.contract import FinishReason

_HALF = "\ufffd"
# Tokens that one character may be spread over.
_CONTEXT = 4


@dataclass(frozen=True, slots=True)
class Ending:
    """stop: the string or token that ended the choice, if one did."""

    reason: FinishReason
    stop: str = ""


class Decoder:
    """params: those of text_params, with the model's own ends added."""

    def __init__(self, tokenizer: Any, params: SamplingParams, prompt_ids: list[int]) -> None:
        self._tokenizer, self._params = tokenizer, params
        self._token_ids: list[int] = []
        self._detokenizer = IncrementalDetokenizer.from_new_request(
            tokenizer,
            EngineCoreRequest(
                request_id="",
                prompt_token_ids=prompt_ids,
                mm_features=None,
                sampling_params=params,
                pooling_params=None,
                arrival_time=0.0,
                lora_request=None,
                cache_salt=None,
                data_parallel_rank=None,
            ),
        )
        # No token can end a choice by its text, and none of its text has to wait.
        self.stopless = not params.stop and isinstance(self._detokenizer, FastIncrementalDetokenizer)

    def next(self, token: int) -> str:
        """`push` of a token that ends nothing, for the stopless: the whole text need not be kept and looked through."""
        self._token_ids.append(token)
        text: str = self._detokenizer.decode_next(token)
        return text

    def push(self, token: int, ending: Ending | None) -> tuple[str, Ending | None]:
        """Text that may go out, and how the choice ends; a stop string outranks the engine's own `ending`."""
        if self.stopless and ending is None:
            return self.next(token), None
        self._token_ids.append(token)
        stopped = ending is not None and ending.reason == "stop"
        if (stop := self._detokenizer.update([token], stopped)) is not None:
            ending = Ending("stop", stop)
        return self._detokenizer.get_next_output_text(ending is not None, True), ending

    def ending_of(self, token: int) -> Ending | None:
        """How an engine would have ended a choice with this token."""
        if token == self._params.eos_token_id:
            return Ending("stop")
        return Ending("stop", str(token)) if token in (self._params.stop_token_ids or ()) else None

    def words(self, token: int) -> bytes:
        """What `token` would add after those pushed; nothing for a part of a character that is not complete."""
        alone: str = self._tokenizer.decode([token])
        if _HALF not in alone:
            return alone.encode()
        before = self._token_ids[-_CONTEXT:]
        whole: str = self._tokenizer.decode([*before, token])
        if whole.endswith(_HALF):
            return b""
        return whole.removeprefix(self._tokenizer.decode(before).rstrip(_HALF)).encode()
