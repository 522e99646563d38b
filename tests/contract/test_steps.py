"""What vLLM's output processor must be for ours to take its place: the real one and a tokenizer, without an engine."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from services.worker.engine.contract import Delta, Sampling

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(400), pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def tokenizer(smollm2_folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(smollm2_folder)


@pytest.fixture
def steps(tokenizer: Any) -> Any:
    from vllm.v1.engine.output_processor import OutputProcessor

    from services.worker.engine.vllm.steps import install

    return install(SimpleNamespace(output_handler=None, output_processor=OutputProcessor(tokenizer, log_stats=True)))


class Reader:
    """Stands in for a VllmRequest.

    fails: raises an error at the second delta, as a parser may when the model writes wrong markup.
    """

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.deltas: list[Delta] = []
        self.cached: int | None = None
        self.ends = 0
        self.errors: list[Exception] = []

    def started(self, cached_tokens: int, prompt: Any = ()) -> None:
        self.cached = cached_tokens

    def prompt_positions(self, output: Any) -> tuple[()]:
        return ()

    def add_delta(self, delta: Delta) -> None:
        if self.fails and len(self.deltas) == 1:
            raise KeyError("tool")
        self.deltas.append(delta)

    def choice_ended(self, choice: Any) -> None:
        self.ends += 1

    def failed(self, error: Exception) -> None:
        self.errors.append(error)

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.deltas)


def begin(steps: Any, tokenizer: Any, reader: Reader, sampling: Sampling) -> str:
    """Its request's name in the engine."""
    from vllm.v1.engine import EngineCoreRequest

    from services.worker.engine.vllm.choice import Choice
    from services.worker.engine.vllm.decode import Decoder
    from services.worker.engine.vllm.parse import AnswerParser
    from services.worker.engine.vllm.request import ChoiceListener
    from services.worker.engine.vllm.sampling import sampling_params, text_params
    from services.worker.engine.vllm.token_bytes import TokenBytes

    decoder = Decoder(tokenizer, text_params(sampling, skip_special_tokens=True), [1])
    choice = Choice(0, decoder, AnswerParser(None, None, [1]), TokenBytes(tokenizer), 100)
    name: str = steps.announce("r", ChoiceListener(reader, choice, None))  # type: ignore[arg-type]
    request = EngineCoreRequest(
        request_id=f"{name}-inside",
        external_req_id=name,
        prompt_token_ids=[1],
        mm_features=None,
        sampling_params=sampling_params(sampling, 0, 100, 0, None),
        pooling_params=None,
        arrival_time=0.0,
        lora_request=None,
        cache_salt=None,
        data_parallel_rank=None,
    )
    steps.add_request(request, None)
    return request.request_id  # type: ignore[no-any-return]


def step(steps: Any, outputs: dict[str, list[int]], *, last: bool = False) -> tuple[list[str], Any]:
    """Requests to abort, and what vLLM counted."""
    from vllm.v1.engine import EngineCoreOutput, FinishReason
    from vllm.v1.metrics.stats import IterationStats

    reason = FinishReason.LENGTH if last else None
    made = [EngineCoreOutput(name, tokens, finish_reason=reason) for name, tokens in outputs.items()]
    counted = IterationStats()
    return steps.process_outputs(made, 1.0, counted, weight_version="w").reqs_to_abort, counted


def one_by_one(tokens: list[int]) -> Iterator[tuple[list[int], bool]]:
    for at in range(len(tokens)):
        yield tokens[at : at + 1], at + 1 == len(tokens)


def test_every_token_arrives_and_is_counted(steps: Any, tokenizer: Any) -> None:
    tokens = tokenizer.encode("The tide comes in, and the tide goes out.")
    reader, generated, finished = Reader(), 0, []
    name = begin(steps, tokenizer, reader, Sampling(max_tokens=100))
    for some, last in one_by_one(tokens):
        to_abort, counted = step(steps, {name: some}, last=last)
        generated += counted.num_generation_tokens
        finished += counted.finished_requests
        assert not to_abort
    assert reader.text == "The tide comes in, and the tide goes out."
    assert [delta.finish_reason for delta in reader.deltas if delta.finish_reason] == ["length"]
    assert (reader.cached, reader.ends, generated) == (0, 1, len(tokens))
    assert [request.num_generation_tokens for request in finished] == [len(tokens)]
    assert not steps.has_unfinished_requests()


@pytest.mark.parametrize("at_once", [1, 4])
def test_a_stop_string_takes_the_request_off_the_engine(steps: Any, tokenizer: Any, at_once: int) -> None:
    tokens = tokenizer.encode("The tide comes in, and the tide goes out.")
    reader = Reader()
    name = begin(steps, tokenizer, reader, Sampling(max_tokens=100, stop=(" and",)))
    to_abort: list[str] = []
    for at in range(0, len(tokens), at_once):
        to_abort += step(steps, {name: tokens[at : at + at_once]})[0]
    assert to_abort == [name]
    assert (reader.text, reader.ends, reader.errors) == ("The tide comes in,", 1, [])
    assert not steps.has_unfinished_requests()


def test_a_request_that_fails_takes_no_other_with_it(steps: Any, tokenizer: Any) -> None:
    good, bad = Reader(), Reader(fails=True)
    names = [begin(steps, tokenizer, reader, Sampling(max_tokens=100)) for reader in (bad, good)]
    to_abort: list[str] = []
    for token in tokenizer.encode("The tide comes in"):
        to_abort += step(steps, {name: [token] for name in names})[0]
    assert to_abort == names[:1]
    assert [str(error) for error in bad.errors] == ["'tool'"]
    assert good.text == "The tide comes in"


def test_the_engines_end_is_told_to_all(steps: Any, tokenizer: Any) -> None:
    readers = [Reader(), Reader()]
    for reader in readers:
        begin(steps, tokenizer, reader, Sampling(max_tokens=100))
    steps.propagate_error(RuntimeError("the engine has died"))
    assert [[str(error) for error in reader.errors] for reader in readers] == [["the engine has died"]] * 2


def test_this_vllm_has_all_that_we_use_beyond_its_public_interface() -> None:
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.engine.detokenizer import FastIncrementalDetokenizer, IncrementalDetokenizer
    from vllm.v1.engine.output_processor import OutputProcessor

    from services.worker.engine.vllm.steps import _missing_members

    assert _missing_members() == set()
    # Of engine.py, loaded.py and decode.py.
    members = {
        AsyncLLM: {"output_processor", "output_handler", "input_processor", "renderer"}
        & set(AsyncLLM.__init__.__code__.co_names),
        FastIncrementalDetokenizer: {"decode_next", "update", "get_next_output_text"},
        IncrementalDetokenizer: {"from_new_request"},
        OutputProcessor: {"add_request", "process_outputs", "abort_requests", "propagate_error"},
    }
    assert len(members[AsyncLLM]) == 4
    for owner in (FastIncrementalDetokenizer, IncrementalDetokenizer, OutputProcessor):
        assert not [name for name in members[owner] if not hasattr(owner, name)]


def test_a_vllm_that_is_not_as_it_must_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from services.worker.engine.vllm import steps
    from services.worker.engine.vllm.steps import install

    with pytest.raises(RuntimeError, match="before the first request"):
        install(SimpleNamespace(output_handler=object()))
    monkeypatch.setattr(steps, "_PARAMETERS", [(lambda request: None, {"request", "queue"})])
    with pytest.raises(RuntimeError, match="has no queue"):
        install(SimpleNamespace(output_handler=None))
