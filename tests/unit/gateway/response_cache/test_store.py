from services.gateway.response_cache.store import DELTA_BYTES, CachedResponse, ResponseStore
from tests.support.clock import ManualClock
from tidegate.worker.v1 import worker_pb2

MAX_BYTES = 16 * 1024


def response(size: int = 1024) -> CachedResponse:
    """A response of about so many bytes."""
    delta = worker_pb2.Delta(text="x" * (size - DELTA_BYTES - 4))
    return CachedResponse((delta,), worker_pb2.Usage(), "v1")


def test_a_response_is_found_until_it_is_too_old() -> None:
    clock = ManualClock()
    store, made = ResponseStore(MAX_BYTES, 60, clock), response()
    store.put(b"a", made)
    assert store.get(b"a") is made
    assert store.get(b"b") is None
    clock._now += 60
    assert store.get(b"a") is None
    assert store.size == 0


def test_the_least_recently_used_leave_first_and_bytes_are_bounded() -> None:
    store = ResponseStore(MAX_BYTES, 60, ManualClock())
    for number in range(16):
        store.put(bytes([number]), response())
        assert store.get(b"\x00")
    for number in range(16, 24):
        store.put(bytes([number]), response())
    assert store.size <= MAX_BYTES
    assert store.get(b"\x00")
    assert store.get(b"\x01") is None
    assert store.get(b"\x17")


def test_one_large_response_does_not_displace_all_others() -> None:
    store = ResponseStore(MAX_BYTES, 60, ManualClock())
    store.put(b"a", response(MAX_BYTES // 4))
    assert (store.get(b"a"), store.size) == (None, 0)


def test_a_response_that_is_put_again_counts_once() -> None:
    store = ResponseStore(MAX_BYTES, 60, ManualClock())
    store.put(b"a", response())
    before = store.size
    store.put(b"a", response())
    assert store.size == before > 0
