"""Frames to engine requests and back: absent is not zero, and every failure has its kind."""

import pytest

from services.worker.engine.contract import (
    ChatPrompt,
    ContextTooLong,
    Delta,
    EngineDead,
    EngineError,
    InvalidPrompt,
    ResumePoint,
    Sampling,
    Structure,
    TokenLogprob,
    TokenPrompt,
    ToolCallDelta,
    TopLogprob,
)
from services.worker.wire import Name, engine_request, failure_of, write_delta
from tidegate.worker.v1 import worker_pb2 as pb


def test_absent_sampling_is_openais_default() -> None:
    assert engine_request(pb.Start(text="hi")).sampling == Sampling()


def test_given_zeros_are_kept() -> None:
    given = pb.Sampling(temperature=0.0, top_p=0.0, seed=0, top_logprobs=0, max_tokens=0)
    sampling = engine_request(pb.Start(text="hi", sampling=given)).sampling
    assert (sampling.temperature, sampling.top_p, sampling.seed, sampling.top_logprobs) == (0.0, 0.0, 0, 0)
    assert sampling.max_tokens == 0


@pytest.mark.parametrize(
    ("given", "structure"),
    [
        (pb.Sampling(json_schema="{}"), Structure("json_schema", "{}")),
        (pb.Sampling(regex="a"), Structure("regex", "a")),
        (pb.Sampling(grammar="root"), Structure("grammar", "root")),
        (pb.Sampling(json_object=True), Structure("json_object")),
        (pb.Sampling(json_object=False), None),
    ],
)
def test_structures(given: pb.Sampling, structure: Structure | None) -> None:
    assert engine_request(pb.Start(text="hi", sampling=given)).sampling.structure == structure


def test_chat_fields_are_decoded() -> None:
    chat = pb.ChatPrompt(messages_json=b'[{"role": "user", "content": "hi"}]', tool_choice_json=b'"auto"')
    assert engine_request(pb.Start(chat=chat)).prompt == ChatPrompt(
        [{"role": "user", "content": "hi"}], tool_choice="auto", parallel_tool_calls=False
    )


def test_attempts_of_a_request_are_apart_in_the_engine() -> None:
    first, second = (engine_request(pb.Start(text="hi", request_id="r", attempt=attempt)) for attempt in (1, 2))
    assert first.request_id != second.request_id


def test_resume_points_are_kept_by_choice() -> None:
    start = pb.Start(
        token_ids=pb.TokenIds(ids=[1, 2]),
        resume=[pb.ResumePoint(choice=2, token_ids=[7, 8], text_offset=5), pb.ResumePoint(choice=0, finished=True)],
    )
    request = engine_request(start)
    assert request.prompt == TokenPrompt((1, 2))
    assert request.resume == {2: ResumePoint((7, 8), 5), 0: ResumePoint((), 0, finished=True)}


@pytest.mark.parametrize("start", [pb.Start(), pb.Start(chat=pb.ChatPrompt(messages_json=b"{"))])
def test_a_start_that_makes_no_sense_is_invalid(start: pb.Start) -> None:
    with pytest.raises(InvalidPrompt):
        engine_request(start)


def test_a_delta_keeps_everything() -> None:
    delta = Delta(
        choice=1,
        text="x",
        token_ids=(5,),
        reasoning="y",
        tool_calls=(ToolCallDelta(0, "id", "name", "{}"),),
        logprobs=(TokenLogprob(5, b"x", -0.5, (TopLogprob(6, b"z", -1.0),)),),
        finish_reason="tool_calls",
        stop_reason="s",
    )
    frame = pb.Delta()
    write_delta(frame, Name(3, 2), delta)
    assert (frame.stream_id, frame.attempt, frame.choice, frame.text, frame.reasoning) == (3, 2, 1, "x", "y")
    assert (list(frame.token_ids), frame.finish_reason) == ([5], pb.FINISH_REASON_TOOL_CALLS)
    assert frame.tool_calls[0] == pb.ToolCallDelta(index=0, id="id", name="name", arguments="{}")
    assert frame.logprobs[0].top[0].token == b"z"
    assert (frame.stop_reason, frame.HasField("stop_token_id")) == ("s", False)


def test_a_stop_token_is_told_apart_from_a_stop_string() -> None:
    frame = pb.Delta()
    write_delta(frame, Name(3, 2), Delta(0, finish_reason="stop", stop_reason=0))
    assert (frame.stop_reason, frame.HasField("stop_token_id"), frame.stop_token_id) == ("", True, 0)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidPrompt("no", "stop"), pb.FAILURE_KIND_INVALID),
        (ContextTooLong("no", "stop"), pb.FAILURE_KIND_CONTEXT_LENGTH),
        (EngineDead("no"), pb.FAILURE_KIND_ENGINE),
        (EngineError("no"), pb.FAILURE_KIND_ENGINE),
    ],
)
def test_failures(error: EngineError, kind: int) -> None:
    failure = failure_of(error)
    assert (failure.kind, failure.message) == (kind, "no")
    assert failure.param == ("stop" if isinstance(error, InvalidPrompt) else "")
