import asyncio
from pathlib import Path

import pytest

from loadtests import events
from loadtests.events import Command, EventFailed, Kill
from tests.unit.loadtests.samples import profile

NOWHERE = Path("/nowhere")


def test_a_profile_tells_kills_from_commands() -> None:
    given = profile(events=[{"at_s": 3, "kill": "worker-1"}, {"at_s": 1, "tidegate": ["rollout", "stop"]}])
    assert given.events == [Kill(at_s=3, kill="worker-1"), Command(at_s=1, tidegate=["rollout", "stop"])]


def test_an_event_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="events"):
        profile(events=[{"at_s": 3, "reboot": "worker-1"}])


async def test_they_happen_in_order_and_one_that_fails_stops_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[tuple[str, ...]] = []

    async def tidegate(*arguments: str) -> bytes:
        happened.append(arguments)
        if arguments[0] == "fail":
            raise EventFailed("fail")
        return b""

    monkeypatch.setattr(events, "_tidegate", tidegate)
    stop = asyncio.Event()
    planned = [Command(at_s=at_s, tidegate=[name]) for at_s, name in ((2, "fail"), (1, "well"), (3, "never"))]
    with pytest.raises(EventFailed):
        await events.run_events(planned, NOWHERE, lambda: 10.0, stop)
    assert stop.is_set()
    assert [name for name, *_ in happened] == ["well", "fail"]
