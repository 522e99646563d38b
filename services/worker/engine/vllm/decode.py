"""Decodes the tokens of one choice with vLLM's own detokenizer, one token at a time.

New tokens and tokens from another worker take the same path. So the text depends on the tokens only, not on how many
arrive together or which worker made them.
"""

from dataclasses import dataclass
from typing import Any

from vllm.sampling_params import SamplingParams
from vllm.v1.engine import EngineCoreRequest
from vllm.v1.engine.detokenizer import FastIncrementalDetokenizer, IncrementalDetokenizer

from services.worker.engine.contract import FinishReason


@dataclass(frozen=True, slots=True)
class Ending:
    """How a choice ended.

    stop: the string or token that ended it; empty if neither did.
    """

    reason: FinishReason
    stop: str | int = ""


class Decoder:
    """Decodes one choice and looks for stop strings.

    Args:
        params: the result of `text_params` with the end tokens of the model added.
    """

    def __init__(self, tokenizer: Any, params: SamplingParams, prompt_ids: list[int]) -> None:
        self._params = params
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
        # There is no stop string, so no text can end the choice and no text has to wait.
        self.decodes_directly = not params.stop and isinstance(self._detokenizer, FastIncrementalDetokenizer)

    def next(self, token: int) -> str:
        """Returns the text of a token that ends nothing. Faster than `push`; only if `decodes_directly`."""
        text: str = self._detokenizer.decode_next(token)
        return text

    def push(self, token: int, ending: Ending | None) -> tuple[str, Ending | None]:
        """Adds a token; returns the text that may go out now, and how the choice ends.

        Text that may be the start of a stop string waits. A stop string takes precedence over the engine's `ending`.
        """
        if self.decodes_directly and ending is None:
            return self.next(token), None
        stopped = ending is not None and ending.reason == "stop"
        if (stop := self._detokenizer.update([token], stopped)) is not None:
            ending = Ending("stop", stop)
        return self._detokenizer.get_next_output_text(ending is not None, True), ending

    def ending_of(self, token: int) -> Ending | None:
        """Returns how an engine ends a choice at this token, or None if it goes on."""
        if token == self._params.eos_token_id:
            return Ending("stop")
        return Ending("stop", token) if token in (self._params.stop_token_ids or ()) else None
