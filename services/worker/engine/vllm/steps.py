"""What a step of vLLM produced, handed to each choice in that very step.

AsyncLLM makes an object for every token, puts it into a queue and wakes a task. Ours takes the place of its output
processor: a token that is only a token goes straight to its choice; first and last outputs, and those with logprobs,
go vLLM's own way, which keeps its books.
"""

import inspect
from collections.abc import Iterable
from itertools import count
from typing import Any, Protocol

from vllm.outputs import RequestOutput
from vllm.v1.engine import EngineCoreOutput, EngineCoreRequest
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.output_processor import OutputProcessor, OutputProcessorOutput, RequestState
from vllm.v1.metrics.stats import IterationStats, RequestStateStats

# What this module relies on beyond what vLLM promises: `install` refuses a vLLM that lacks any of it.
_PARAMETERS = (
    (OutputProcessor.process_outputs, {"engine_core_outputs", "engine_core_timestamp", "iteration_stats"}),
    (OutputProcessor.add_request, {"request", "prompt", "parent_req", "request_index", "queue"}),
    (OutputProcessor.abort_requests, {"request_ids", "internal"}),
)
_OUTPUT = {"request_id", "new_token_ids", "new_logprobs", "finish_reason", "events"}
_STATE = {"queue", "is_prefilling", "stats"}
_REQUEST = {"request_id", "external_req_id"}
_REQUEST_STATS = {"num_generation_tokens", "last_token_ts"}
# Set in constructors, so they are looked for among the names that these use.
_ITERATION = {"num_generation_tokens"}
_PROCESSOR = {"request_states"}


class Listener(Protocol):
    """In the place of vLLM's RequestOutputCollector. Neither method may raise."""

    ended: bool

    def tokens(self, token_ids: list[int]) -> None:
        """Takes plain tokens of one step."""
        ...

    def put(self, output: RequestOutput | Exception) -> None:
        """Takes an output or an error as vLLM's own output processor makes them."""
        ...


class Steps(OutputProcessor):  # type: ignore[misc]
    """Replaces vLLM's output processor and takes over the state of the one that it replaces."""

    def __init__(self, replaced: OutputProcessor) -> None:
        self.__dict__.update(vars(replaced))
        self._announced: dict[str, Listener] = {}
        self._serial = count()

    def announce(self, name: str, listener: Listener) -> str:
        """The name, made unique, under which AsyncLLM is to be given the request next."""
        name = f"{name}-{next(self._serial)}"
        self._announced[name] = listener
        return name

    def forget(self, names: Iterable[str]) -> None:
        """Those that AsyncLLM refused, or was never given."""
        for name in names:
            self._announced.pop(name, None)

    def add_request(
        self,
        request: EngineCoreRequest,
        prompt: str | None,
        parent_req: Any = None,
        request_index: int = 0,
        queue: Any = None,
    ) -> None:
        """Registers a request with its announced listener in the place of vLLM's queue."""
        listener = self._announced.pop(request.external_req_id)
        super().add_request(request, prompt, parent_req, request_index, listener)

    def process_outputs(
        self,
        engine_core_outputs: list[EngineCoreOutput],
        engine_core_timestamp: float | None = None,
        iteration_stats: IterationStats | None = None,
        **more: Any,
    ) -> OutputProcessorOutput:
        """Hands the outputs of one step to their listeners; vLLM then aborts the requests that it gets back."""
        ended: list[str] = []
        for output in engine_core_outputs:
            state = self.request_states.get(output.request_id)
            if state is None:
                continue  # It was aborted meanwhile.
            if _is_plain(output, state):
                _count(output, state, engine_core_timestamp, iteration_stats)
                state.queue.tokens(output.new_token_ids)
            else:
                super().process_outputs([output], engine_core_timestamp, iteration_stats, **more)
            if state.queue.ended:
                ended.append(output.request_id)
        return OutputProcessorOutput(request_outputs=[], reqs_to_abort=self._still_running(ended))

    def _still_running(self, ended: list[str]) -> list[str]:
        """Those that ended by their text, which the engine does not know of: taken off here, to be aborted there."""
        running = [request_id for request_id in ended if request_id in self.request_states]
        aborted: list[str] = self.abort_requests(running, internal=True) if running else []
        return aborted


def install(llm: AsyncLLM) -> Steps:
    """Raises RuntimeError when this vLLM is not as it must be for that."""
    if lacking := _lacking():
        raise RuntimeError(f"this vLLM's output processor has no {', '.join(sorted(lacking))}: engine/vllm/steps.py")
    if llm.output_handler is not None:
        raise RuntimeError("this vLLM reads its engine's outputs before the first request: engine/vllm/steps.py")
    llm.output_processor = steps = Steps(llm.output_processor)
    return steps


def _lacking() -> set[str]:
    """The members that this vLLM does not have."""
    lacking = _OUTPUT - set(EngineCoreOutput.__struct_fields__)
    lacking |= _REQUEST - set(EngineCoreRequest.__struct_fields__)
    lacking |= _REQUEST_STATS - set(RequestStateStats.__dataclass_fields__)
    for made, wanted in ((RequestState, _STATE), (IterationStats, _ITERATION), (OutputProcessor, _PROCESSOR)):
        lacking |= wanted - set(made.__init__.__code__.co_names)
    for method, wanted in _PARAMETERS:
        lacking |= wanted - set(inspect.signature(method).parameters)
    return lacking


def _is_plain(output: EngineCoreOutput, state: RequestState) -> bool:
    return (
        output.finish_reason is None
        and output.new_logprobs is None
        and output.events is None
        and not state.is_prefilling
    )


def _count(
    output: EngineCoreOutput, state: RequestState, timestamp: float | None, iteration: IterationStats | None
) -> None:
    """What vLLM counts for a plain token, save its latency: that would be a histogram's work for each."""
    if iteration is None or state.stats is None:
        return
    iteration.num_generation_tokens += len(output.new_token_ids)
    state.stats.num_generation_tokens += len(output.new_token_ids)
    state.stats.last_token_ts = timestamp
