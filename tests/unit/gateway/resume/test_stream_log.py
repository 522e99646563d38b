from random import Random

import pytest

from services.gateway.generation.progress import Progress, VersionSpan
from services.gateway.resume.stream_log import MAX_TAIL_BYTES, StreamLog, restore
from tests.unit.gateway.openai.test_generation_builder import generation
from tidegate.router.v1.router_pb2 import StreamLog as Record
from tidegate.worker.v1 import worker_pb2 as pb

BEGUN = Record(answer_id="chatcmpl-1", created=5, model_version="v1", prompt_tokens=9, cached_tokens=4)


def log(max_bytes: int = 10_000) -> StreamLog:
    return StreamLog(generation(), BEGUN.SerializeToString(), max_bytes)


def deltas(random: Random, number: int) -> list[pb.Delta]:
    return [
        pb.Delta(
            choice=random.randrange(3),
            token_ids=random.choices(range(100_000), k=random.randrange(4)),
            text_end=n,
            finish_reason=random.choice([pb.FINISH_REASON_UNSPECIFIED, pb.FINISH_REASON_STOP]),
        )
        for n in range(number)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_resume_log_and_id_together_say_how_much_the_client_has(seed: int) -> None:
    """However far behind the resume log is, also when it has lost what it had."""
    random, written, kept = Random(seed), log(), b""
    progress = Progress(3, prompt_tokens=9, cached_tokens=4, version="v1", resumable=True)
    for delta in deltas(random, 200):
        written.append(delta)
        progress.take(delta)
        if random.random() < 0.05:
            kept = b""
            written.note_stored(0, full=False)
        if random.random() < 0.5 and (part := written.next_part(max_bytes=50)):
            kept += part.data
            written.note_stored(len(kept), full=False)
        if position := written.position():
            assert restore(kept[: position.offset] + position.tail, 3) == (
                Record.FromString(kept + position.tail),
                progress,
            )


def test_there_is_no_position_while_the_resume_log_is_far_behind() -> None:
    written = log()
    while written.position():
        written.append(pb.Delta(token_ids=[1]))
    part = written.next_part(10_000)
    assert part
    assert MAX_TAIL_BYTES < len(part.data) < MAX_TAIL_BYTES + 20
    written.note_stored(len(part.data), full=False)
    assert written.position()
    assert written.next_part(10_000) is None


def test_a_log_that_is_too_long_is_not_written_any_more() -> None:
    small = log(max_bytes=100)
    for n in range(20):
        small.append(pb.Delta(token_ids=[n], text_end=n))
    assert small.next_part(10_000) is None
    refused = log()
    refused.note_stored(0, full=True)
    assert refused.next_part(10_000) is None
    assert refused.position()


def test_a_log_names_the_version_where_another_one_goes_on() -> None:
    written = log()
    written.append(pb.Delta(token_ids=[1, 2], text_end=2))
    written.go_on_with("v2")
    written.append(pb.Delta(token_ids=[3], text_end=3))
    written.append(pb.Delta(token_ids=[4], text_end=4))
    position = written.position()
    assert position
    _, progress = restore(position.tail, 1)
    assert progress.version == "v2"
    assert progress.spans() == (VersionSpan(0, "v1", 0, 2), VersionSpan(0, "v2", 2, 2))
