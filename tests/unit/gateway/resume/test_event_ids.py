import pytest

from services.gateway.resume.event_ids import EventIds, StreamPosition
from services.shared.errors import InvalidRequest

POSITION = StreamPosition("chatcmpl-1", 70, b"\x00tail\xff")


@pytest.mark.parametrize("position", [POSITION, StreamPosition("r", 0, b"")])
def test_an_id_is_valid_for_the_same_secret_and_request(position: StreamPosition) -> None:
    event_id = EventIds(b"secret", b"request").make(position).decode()
    assert EventIds(b"secret", b"request").read(event_id) == position


def test_no_other_id_is_valid() -> None:
    ids = EventIds(b"secret", b"request")
    good = ids.make(POSITION).decode()
    changed = [good[:at] + ("A" if good[at] != "A" else "B") + good[at + 1 :] for at in range(len(good))]
    # The last character of the signature has bits to spare.
    foreign = [
        EventIds(b"secret", b"other").make(POSITION).decode(),
        EventIds(b"other", b"request").make(POSITION).decode(),
    ]
    for wrong in [*changed[:-1], *foreign, "", ".", "...", "chatcmpl-1", good + good, "ü.1..ü", "x" * 5000]:
        with pytest.raises(InvalidRequest) as refused:
            ids.read(wrong)
        assert refused.value.code == "invalid_event_id"
