from services.gateway.response_cache.store import DELTA_BYTES, CachedResponse, ResponseStore
from tests.support.clock import ManualClock
from tidegate.worker.v1 import worker_pb2

ROOM = 16 * 1024


def kept(size: int = 1024) -> CachedResponse:
    """Takes about so many bytes."""
    delta = worker_pb2.Delta(text="x" * (size - DELTA_BYTES - 4))
    return CachedResponse((delta,), worker_pb2.Usage(), "v1")


def test_what_was_kept_is_found_until_its_time_is_over() -> None:
    clock = ManualClock()
    store, answer = ResponseStore(ROOM, 60, clock), kept()
    store.put(b"a", answer)
    assert store.get(b"a") is answer
    assert store.get(b"b") is None
    clock._now += 60
    assert store.get(b"a") is None
    assert store.size == 0


def test_the_least_used_leave_first_and_bytes_are_bounded() -> None:
    store = ResponseStore(ROOM, 60, ManualClock())
    for number in range(16):
        store.put(bytes([number]), kept())
        assert store.get(b"\x00")
    for number in range(16, 24):
        store.put(bytes([number]), kept())
    assert store.size <= ROOM
    assert store.get(b"\x00")
    assert store.get(b"\x01") is None
    assert store.get(b"\x17")


def test_one_answer_cannot_push_out_all_others() -> None:
    store = ResponseStore(ROOM, 60, ManualClock())
    store.put(b"a", kept(ROOM // 4))
    assert (store.get(b"a"), store.size) == (None, 0)


def test_an_answer_that_is_kept_again_takes_its_room_once() -> None:
    store = ResponseStore(ROOM, 60, ManualClock())
    store.put(b"a", kept())
    before = store.size
    store.put(b"a", kept())
    assert store.size == before > 0
