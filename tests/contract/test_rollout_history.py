"""The history of rollouts in both databases: each event once, newest first, and what the routers forget stays."""

import asyncio

from services.gateway.database.engine import Database
from services.gateway.rollouts.event import RolloutEvent
from services.gateway.rollouts.history_copy import HistoryCopy
from services.gateway.rollouts.store import RolloutHistory
from services.shared.clock import SystemClock
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2 as pb


def event(revision: int, rollout: str = "r1") -> pb.RolloutEvent:
    return pb.RolloutEvent(
        kind=pb.ROLLOUT_EVENT_KIND_PAUSED,
        at_ms=1_790_000_000_000 + revision,
        rollout_id=rollout,
        revision=revision,
        model_version="1" * 64,
        policy=pb.ROLLOUT_POLICY_CANARY,
        step=2,
        who="ann",
        why="lunch " * 200,
        mode=pb.SWAP_MODE_HAND_OVER,
    )


class Routers:
    """What they keep; and how often they were asked for what comes after a revision."""

    def __init__(self, *kept: pb.RolloutEvent) -> None:
        self.kept = kept
        self.asked: list[int] = []

    async def rollout_events(self, pool: str, after_revision: int) -> pb.ListRolloutEventsResponse:
        assert pool == "tide"
        self.asked.append(after_revision)
        events = [event for event in self.kept if event.revision > after_revision]
        return pb.ListRolloutEventsResponse(events=events, last_revision=self.kept[-1].revision if self.kept else 0)


async def test_each_event_is_kept_once_and_whole(database: Database) -> None:
    history = RolloutHistory(database, kept=1_000)
    events = [RolloutEvent.of("tide", event(revision)) for revision in range(1, 251)]
    await history.add(events)
    await history.add([*events[200:], RolloutEvent.of("tide", event(251)), RolloutEvent.of("ebb", event(1))])
    newest = await history.read("tide", 3)
    assert newest == [RolloutEvent.of("tide", event(revision)) for revision in (251, 250, 249)]
    assert (newest[0].event, newest[0].policy, newest[0].mode) == ("paused", "canary", "hand_over")
    assert len(await history.read("tide", 1_000)) == 251
    assert len(await history.read(None, 1_000)) == 252
    await history.add([])


async def test_what_the_routers_forget_stays_and_a_redis_that_begins_anew_is_noticed(database: Database) -> None:
    history, routers = RolloutHistory(database, kept=1_000), Routers(event(3), event(7))
    copy = HistoryCopy(["tide"], routers, history, SystemClock())
    await copy.copy("tide")
    routers.kept = (event(7), event(9))
    await copy.copy("tide")
    assert routers.asked == [0, 7]
    routers.kept = ()
    await copy.copy("tide")
    routers.kept = (event(1, "r2"), event(4, "r2"))
    await copy.copy("tide")
    assert routers.asked == [0, 7, 9, 0, 0]
    found = sorted((kept.rollout, kept.revision) for kept in await history.read("tide", 10))
    assert found == [("r1", 3), ("r1", 7), ("r1", 9), ("r2", 1), ("r2", 4)]


async def test_an_event_that_this_release_does_not_know_waits_and_stops_no_later_copy(database: Database) -> None:
    """A router of a later release wrote it. A gateway of that release copies it."""

    class Hurried(SystemClock):
        async def sleep(self, seconds: float) -> None:
            await asyncio.sleep(0.001)

    unknown = event(3)
    unknown.kind = 99  # type: ignore[assignment]
    history, routers = RolloutHistory(database, kept=1_000), Routers(unknown)
    copying = asyncio.create_task(HistoryCopy(["tide"], routers, history, Hurried()).run())
    await wait_until(lambda: len(routers.asked) > 1 or copying.done(), description="it tries again")
    routers.kept = (event(4),)

    async def copied() -> bool:
        return [kept.revision for kept in await history.read("tide", 10)] == [4]

    await wait_until(copied, description="later events are copied")
    copying.cancel()


async def test_only_the_last_events_of_each_pool_are_kept(database: Database) -> None:
    history = RolloutHistory(database, kept=3)
    copy = HistoryCopy(["tide"], Routers(*(event(revision) for revision in range(1, 9))), history, SystemClock())
    await history.add([RolloutEvent.of("ebb", event(revision)) for revision in range(1, 6)])
    await copy.copy("tide")
    assert [kept.revision for kept in await history.read("tide", 10)] == [8, 7, 6]
    assert len(await history.read("ebb", 10)) == 5
    assert await history.trim("ebb") == 2
    assert await history.trim("ebb") == 0
