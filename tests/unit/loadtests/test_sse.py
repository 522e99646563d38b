import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from loadtests.sse import MAX_EVENT_BYTES, EventStream, EventTooLarge

LINES = st.lists(
    st.sampled_from(
        [b"data: {}", b"data:x", b"data", b"data:", b"data:  y", b": ping", b"event: e", b"id:1", b"datab: no", b""]
    ),
    max_size=12,
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


def by_the_book(lines: list[bytes]) -> list[bytes]:
    """The standard's own algorithm, line by line."""
    events: list[bytes] = []
    data: list[bytes] = []
    for line in lines:
        if not line:
            if data:
                events.append(b"\n".join(data))
            data = []
            continue
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
    return events


@given(LINES, st.data(), st.booleans())
def test_events_come_out_whatever_the_borders_and_line_ends(lines: list[bytes], data: st.DataObject, bom: bool) -> None:
    wire = b"".join(line + data.draw(ENDS) for line in lines)
    assume(not is_ambiguous(lines, wire))
    wire = b"\xef\xbb\xbf" + wire if bom else wire
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    stream = EventStream()
    found = [event for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True) for event in stream.feed(wire[a:b])]
    assert found == by_the_book(lines)


def is_ambiguous(lines: list[bytes], wire: bytes) -> bool:
    """A line that ended in CR before an empty one that ended in LF reads as one CR LF."""
    return wire.replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n") != len(lines)


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1), max_size=6),
    st.integers(1, 7),
)
def test_text_survives_in_pieces_of_any_size(texts: list[str], size: int) -> None:
    wire = b"".join(b"data: " + text.encode() + b"\n\n" for text in texts)
    stream = EventStream()
    found = [event for at in range(0, len(wire), size) for event in stream.feed(wire[at : at + size])]
    assert [event.decode() for event in found] == texts


def test_a_stream_without_an_end_of_event_is_not_held_for_ever() -> None:
    stream = EventStream()
    assert stream.feed(b"x" * MAX_EVENT_BYTES) == []
    with pytest.raises(EventTooLarge):
        stream.feed(b"x")
