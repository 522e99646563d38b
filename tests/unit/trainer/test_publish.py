from pathlib import Path
from random import Random

import pytest
from obstore.store import MemoryStore

from services.shared.clock import SystemClock
from services.shared.manifests import MANIFEST, Manifest
from services.shared.objectstore import Conflict, ObjectStore
from services.shared.registry import Reference, Registry, object_name
from tests.support.clock import ManualClock
from tests.support.signing import KEY, STRANGER
from trainer.checkpoint import Checkpoint, read
from trainer.publish import ALIAS_TRIES, Changed, MovesByRollout, Provenance, describe, offer, point, publish
from trainer.sources.simulated import SimulatedModel


@pytest.fixture
def store() -> ObjectStore:
    return ObjectStore(MemoryStore())


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return read(SimulatedModel().prepare(tmp_path))


def described(checkpoint: Checkpoint, created: int = 1) -> Manifest:
    return KEY.sign(describe(checkpoint, model="tiny", provenance=Provenance("a test"), created=created))


async def test_every_byte_is_published_and_reported(store: ObjectStore, checkpoint: Checkpoint) -> None:
    moved: list[int] = []
    published = await publish(store, checkpoint, described(checkpoint), moved.append)
    assert published.is_new
    assert sum(moved) == checkpoint.size
    for name in checkpoint.selection.names:
        content, _ = await store.get(object_name("tiny", published.manifest.version, name))
        assert content == (checkpoint.folder / name).read_bytes()


async def test_the_same_content_is_published_once(store: ObjectStore, checkpoint: Checkpoint) -> None:
    first = await publish(store, checkpoint, described(checkpoint), lambda _: None)
    moved: list[int] = []
    again = await publish(store, checkpoint, described(checkpoint, created=2), moved.append)
    assert not again.is_new
    assert moved == []
    assert await Registry(store).resolve(Reference("tiny", again.manifest.version)) == first.manifest


async def test_what_another_key_had_signed_is_signed_again_and_nothing_else_changes(
    store: ObjectStore, checkpoint: Checkpoint
) -> None:
    ours = described(checkpoint)
    theirs = STRANGER.sign(ours)
    await publish(store, checkpoint, theirs, lambda _: None)
    assert not (await publish(store, checkpoint, ours, lambda _: None)).is_new
    assert await Registry(store).resolve(Reference("tiny", theirs.version)) == ours


async def test_what_is_published_again_counts_as_written_now(store: ObjectStore, checkpoint: Checkpoint) -> None:
    made = described(checkpoint)
    await publish(store, checkpoint, made, lambda _: None)
    before = await manifest_written(store)
    await publish(store, checkpoint, made, lambda _: None)
    assert await manifest_written(store) > before


async def manifest_written(store: ObjectStore) -> float:
    return max([entry.written async for entry in store.entries("tiny/") if entry.name.endswith(MANIFEST)])


class RemovedWhileLookedAt(ObjectStore):
    async def put_if(self, name: str, content: bytes, etag: str) -> None:
        await self.delete(name)
        await super().put_if(name, content, etag)


async def test_a_version_that_is_removed_while_it_is_published_again_is_uploaded(checkpoint: Checkpoint) -> None:
    store, made = RemovedWhileLookedAt(MemoryStore()), described(checkpoint)
    await publish(store, checkpoint, made, lambda _: None)
    assert (await publish(store, checkpoint, made, lambda _: None)).is_new
    assert await Registry(store).resolve(Reference("tiny", made.version)) == made


class Stopped(Exception):
    pass


async def test_what_stops_half_way_leaves_nothing_to_see(store: ObjectStore, checkpoint: Checkpoint) -> None:
    def stop(_: int) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        await publish(store, checkpoint, described(checkpoint), stop)
    assert [made async for made in Registry(store).versions()] == []
    assert (await publish(store, checkpoint, described(checkpoint), lambda _: None)).is_new


async def test_a_publish_that_was_stopped_goes_on_where_it_was(store: ObjectStore, checkpoint: Checkpoint) -> None:
    made = described(checkpoint)
    await publish(store, checkpoint, made, lambda _: None)
    before = {entry.name: entry.written async for entry in store.entries("tiny/")}
    await store.delete(object_name("tiny", made.version, MANIFEST))
    await store.delete(object_name("tiny", made.version, "config.json"))
    moved: list[int] = []
    assert (await publish(store, checkpoint, made, moved.append)).is_new
    assert sum(moved) == checkpoint.size
    after = {entry.name: entry.written async for entry in store.entries("tiny/")}
    assert [name for name in before if before[name] == after[name]] == [
        object_name("tiny", made.version, "model.safetensors")
    ]


async def test_a_file_that_changes_while_it_is_published_leaves_nothing_to_see(
    store: ObjectStore, checkpoint: Checkpoint
) -> None:
    made = described(checkpoint)
    config = checkpoint.folder / "config.json"
    config.write_text(config.read_text().replace("32768", "32769"))
    with pytest.raises(Changed, match=r"config\.json"):
        await publish(store, checkpoint, made, lambda _: None)
    assert [made async for made in Registry(store).versions()] == []


async def test_an_alias_that_points_there_already_is_left_alone(store: ObjectStore) -> None:
    reference = Reference("tiny")
    await point(store, reference, "a" * 64, clock=SystemClock(), random=Random(1))
    _, etag = await store.get("tiny/aliases/latest.json")
    await point(store, reference, "a" * 64, clock=SystemClock(), random=Random(1))
    assert (await store.get("tiny/aliases/latest.json"))[1] == etag


async def offered(store: ObjectStore, which: str, version: str) -> tuple[str, ...]:
    return await offer(store, Reference("tiny", which), version, clock=SystemClock(), random=Random(1))


async def aliases(store: ObjectStore) -> dict[str, str]:
    """The first character of each alias's version."""
    return {reference.which: version[0] for reference, version in (await Registry(store).aliases()).items()}


async def test_a_model_gets_latest_with_its_first_version_and_from_then_on_by_rollouts(store: ObjectStore) -> None:
    assert await offered(store, "candidate", "a" * 64) == ("candidate", "latest")
    assert await offered(store, "candidate", "b" * 64) == ("candidate",)
    assert await aliases(store) == {"candidate": "b", "latest": "a"}
    assert await offered(store, "canary", "c" * 64) == ("canary",)
    assert await aliases(store) == {"candidate": "b", "canary": "c", "latest": "a"}


@pytest.mark.parametrize(
    ("which", "command"),
    [("latest", "promote tiny bbbbbbbbbbbb$"), ("stable", "promote tiny bbbbbbbbbbbb --alias stable$")],
)
async def test_an_alias_that_pools_follow_is_not_moved_by_publishing(
    store: ObjectStore, which: str, command: str
) -> None:
    assert which in await offered(store, which, "a" * 64)
    with pytest.raises(MovesByRollout, match=command):
        await offered(store, which, "b" * 64)
    assert which in await offered(store, which, "a" * 64)
    assert await aliases(store) == {which: "a", "latest": "a"}


class AlwaysBeaten(ObjectStore):
    """Somebody else is always quicker."""

    tries = 0

    async def put_new(self, name: str, content: bytes) -> None:
        self.tries += 1
        raise Conflict(name)


class InstantClock(ManualClock):
    async def sleep(self, seconds: float) -> None:
        self._now += seconds


async def test_a_lost_race_is_run_again_but_not_for_ever() -> None:
    store = AlwaysBeaten(MemoryStore())
    with pytest.raises(Conflict, match=r"tiny@latest"):
        await point(store, Reference("tiny"), "a" * 64, clock=InstantClock(), random=Random(1))
    assert store.tries == ALIAS_TRIES
