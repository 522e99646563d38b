"""Ids in the events of a stream: one for each position from which a client can continue."""

from typing import Any, cast

from services.gateway.generation.event_stream import GenerationHeader
from services.gateway.openai.completion_events import ChatStream
from services.gateway.resume.event_ids import EventIds
from services.gateway.resume.resumable_stream import Event, ResumableStream, StreamRecorder
from services.gateway.resume.stream_log import MAX_TAIL_BYTES, StreamLog, restore
from tests.unit.gateway.openai.test_generation_builder import generation
from tidegate.worker.v1 import worker_pb2 as pb

HEADER = GenerationHeader("chatcmpl-1", 1_700_000_000, "tiny", "default", "v1")
IDS = EventIds(b"secret", b"request")


class ResumeLog:
    """Stores nothing, as a router that is away."""

    def __init__(self) -> None:
        self.logs: list[StreamLog] = []

    def add(self, log: StreamLog) -> None:
        self.logs.append(log)

    def remove(self, log: StreamLog) -> None:
        self.logs.remove(log)


def stream(resume_log: ResumeLog, choices: int = 2, *, resumed: bool = False) -> ResumableStream:
    recorder = StreamRecorder(StreamLog(generation(), b"", 10_000), IDS, cast(Any, resume_log))
    return ResumableStream(ChatStream(HEADER, choices, include_usage=False), recorder, resumed=resumed)


def test_only_the_last_opening_event_has_an_id() -> None:
    opening = stream(ResumeLog(), choices=3).open()
    assert [event.id is None for event in opening] == [True, True, False]
    assert b"".join(event.data for event in opening) == b"".join(ChatStream(HEADER, 3, include_usage=False).open())
    assert stream(ResumeLog(), choices=3, resumed=True).open() == []


def test_each_id_says_how_much_the_client_has() -> None:
    deltas = [pb.Delta(choice=n % 2, text=f"t{n}", token_ids=[n], text_end=n + 1) for n in range(6)]
    silent = pb.Delta(choice=0, token_ids=[99], text_end=7)
    for count, event in enumerate(stream(ResumeLog()).events([*deltas[:3], silent, *deltas[3:]]), start=1):
        position = IDS.read((event.id or b"").decode())
        _, progress = restore(position.tail, 2)
        assert progress.completion_tokens == count + (count > 3)
        assert event.encode() == b"id: " + (event.id or b"") + b"\n" + event.data
        assert event.size == len(event.encode())


def test_the_id_is_empty_while_the_resume_log_is_too_far_behind() -> None:
    events = stream(ResumeLog()).events(pb.Delta(text="x", token_ids=[n]) for n in range(MAX_TAIL_BYTES))
    assert events[0].id
    assert events[-1].id == b""
    assert events[-1].encode().startswith(b"id: \ndata: {")


def test_an_event_without_an_id_is_its_data() -> None:
    assert Event(None, b"data: 1\n\n").encode() == b"data: 1\n\n"
    assert Event(None, b"data: 1\n\n").size == 9
