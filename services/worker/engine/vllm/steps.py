"""Our output processor in vLLM: it hands each token to its choice in the step that made it.

AsyncLLM makes an object for every token, puts it into a queue and wakes a task. Our processor replaces vLLM's and saves
that work: a plain token goes straight to its choice. First outputs, last outputs and outputs with log probabilities
still go through vLLM's own code, which counts requests and measures latencies.
"""

import inspect
from collections.abc import Iterable
from itertools import count
from typing import Any, Protocol

from vllm.v1.engine import EngineCoreOutput, EngineCoreRequest
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.output_processor import OutputProcessor, OutputProcessorOutput, RequestState
from vllm.v1.metrics.stats import IterationStats, RequestStateStats

# Members that this module uses although vLLM does not promise them. `install` rejects a vLLM without any of them.
_PARAMETERS = (
    (OutputProcessor.process_outputs, {"engine_core_outputs", "engine_core_timestamp", "iteration_stats"}),
    (OutputProcessor.add_request, {"request", "prompt", "parent_req", "request_index", "queue"}),
    (OutputProcessor.abort_requests, {"request_ids", "internal"}),
)
_OUTPUT = {"request_id", "new_token_ids", "new_logprobs", "finish_reason", "events"}
_STATE = {"queue", "is_prefilling", "stats"}
_REQUEST = {"request_id", "external_req_id"}
_REQUEST_STATS = {"num_generation_tokens", "last_token_ts"}
# Constructors set these members, so `_missing_members` looks for them among the names that the constructors use.
_ITERATION = {"num_generation_tokens"}
_PROCESSOR = {"request_states"}


class Listener(Protocol):
    """Receives the outputs of one engine request, in place of vLLM's RequestOutputCollector. No method may raise."""

    ended: bool

    def tokens(self, token_ids: list[int]) -> None:
        """Takes plain tokens of one step."""
        ...

    def put(self, output: Any) -> None:
        """Takes an output of vLLM's own output processor (RequestOutput, PoolingRequestOutput), or an error."""
        ...


class Steps(OutputProcessor):  # type: ignore[misc]
    """Replaces vLLM's output processor and takes over the state of the one that it replaces."""

    def __init__(self, replaced: OutputProcessor) -> None:
        self.__dict__.update(vars(replaced))
        self._announced: dict[str, Listener] = {}
        self._serial = count()

    def announce(self, name: str, listener: Listener) -> str:
        """Registers a listener; returns the unique name that the next request to AsyncLLM must have."""
        name = f"{name}-{next(self._serial)}"
        self._announced[name] = listener
        return name

    def forget(self, names: Iterable[str]) -> None:
        """Drops the listeners of requests that AsyncLLM rejected or never got."""
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
        """Adds a request with its announced listener in place of vLLM's queue."""
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
                continue  # It was aborted in the meantime.
            if _is_plain(output, state):
                _count(output, state, engine_core_timestamp, iteration_stats)
                state.queue.tokens(output.new_token_ids)
            else:
                super().process_outputs([output], engine_core_timestamp, iteration_stats, **more)
            if state.queue.ended:
                ended.append(output.request_id)
        return OutputProcessorOutput(request_outputs=[], reqs_to_abort=self._still_running(ended))

    def _still_running(self, ended: list[str]) -> list[str]:
        """Removes requests that a stop string ended; returns their ids, because the engine still runs them."""
        running = [request_id for request_id in ended if request_id in self.request_states]
        aborted: list[str] = self.abort_requests(running, internal=True) if running else []
        return aborted


def install(llm: AsyncLLM) -> Steps:
    """Replaces the output processor of `llm` before its first request.

    Raises:
        RuntimeError: this vLLM lacks a member that we use, or it already reads outputs.
    """
    if missing := _missing_members():
        raise RuntimeError(f"this vLLM's output processor has no {', '.join(sorted(missing))}: engine/vllm/steps.py")
    if llm.output_handler is not None:
        raise RuntimeError("this vLLM reads its engine's outputs before the first request: engine/vllm/steps.py")
    llm.output_processor = steps = Steps(llm.output_processor)
    return steps


def _missing_members() -> set[str]:
    """Returns the members that this vLLM does not have."""
    missing = _OUTPUT - set(EngineCoreOutput.__struct_fields__)
    missing |= _REQUEST - set(EngineCoreRequest.__struct_fields__)
    missing |= _REQUEST_STATS - set(RequestStateStats.__dataclass_fields__)
    for owner, required in ((RequestState, _STATE), (IterationStats, _ITERATION), (OutputProcessor, _PROCESSOR)):
        missing |= required - set(owner.__init__.__code__.co_names)
    for method, required in _PARAMETERS:
        missing |= required - set(inspect.signature(method).parameters)
    return missing


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
    """Counts a plain token as vLLM does, but without its latency: a histogram update for every token costs too much."""
    if iteration is None or state.stats is None:
        return
    iteration.num_generation_tokens += len(output.new_token_ids)
    state.stats.num_generation_tokens += len(output.new_token_ids)
    state.stats.last_token_ts = timestamp
