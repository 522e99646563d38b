"""What the cache keeps of a stream while its client reads it."""

from services.gateway.response_cache.cached_generations import Recording
from services.gateway.response_cache.store import size_of
from tidegate.worker.v1 import worker_pb2

DELTAS = [worker_pb2.Delta(text=text) for text in "abc"]


def test_an_answer_is_complete_only_at_its_end() -> None:
    recording = Recording(largest=1024)
    recording.take(DELTAS[:1])
    recording.take(DELTAS[1:])
    assert not recording.complete
    recording.take([])
    assert recording.complete
    assert recording.deltas == DELTAS


def test_deltas_are_copied_out_of_the_messages_that_brought_them() -> None:
    recording = Recording(largest=1024)
    step = worker_pb2.ServeResponse(deltas=DELTAS)
    recording.take([step.deltas[0]])
    step.deltas[0].text = "changed"
    assert recording.deltas == DELTAS[:1]


def test_an_answer_that_is_too_large_is_given_up() -> None:
    recording = Recording(largest=2 * size_of(DELTAS[0]))
    for delta in (*DELTAS, None):
        recording.take([delta] if delta else [])
    assert not recording.complete
    assert recording.deltas == []
