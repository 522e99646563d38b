"""A generation stream with a router and a worker that do nothing by themselves."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.gateway.domain.generation import Generation
from services.gateway.domain.usage import Outcome, UsedResources
from services.gateway.generation.generation_stream import Generations, GenerationStream
from services.gateway.metrics import Metrics
from services.gateway.upstream.mailbox import Mailbox, WorkerLost
from services.shared.errors import TidegateError
from tests.support.clock import ManualClock
from tests.unit.gateway.generation.test_messages import generation
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2


class FakeCluster:
    """Router client, worker client and worker stream in one; keeps what it is given."""

    def __init__(self) -> None:
        self.mailbox = Mailbox(1)
        self.credit_tokens: list[int] = []
        self.started: list[worker_pb2.Start] = []
        self.finished: list[router_pb2.Finish] = []

    def submit(self, submit: router_pb2.Submit, mailbox: Mailbox) -> None:
        self.mailbox = mailbox

    def finish(self, finish: router_pb2.Finish) -> None:
        self.finished.append(finish)

    def mint_stream_id(self) -> int:
        return 1

    def stream_to(self, grant: router_pb2.Grant) -> "FakeCluster":
        return self

    def start(self, start: worker_pb2.Start, mailbox: Mailbox) -> None:
        self.started.append(start)

    def credit(self, stream_id: int, tokens: int) -> None:
        self.credit_tokens.append(tokens)

    def end(self, stream_id: int, cancel: worker_pb2.Cancel | None) -> None:
        pass


class FakeLedger:
    """Ledger and entry in one."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def check(self) -> None:
        pass

    def open(self, generation: Generation) -> "FakeLedger":
        return self

    def accept(self) -> None:
        pass

    def first_token(self) -> None:
        pass

    def end(self, outcome: Outcome, used: UsedResources) -> None:
        self.outcomes.append(outcome)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def ledger() -> FakeLedger:
    return FakeLedger()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def generations(
    cluster: FakeCluster, ledger: FakeLedger, clock: ManualClock, registry: CollectorRegistry
) -> Generations:
    fake: Any = cluster
    return Generations(fake, fake, clock=clock, metrics=Metrics(registry), ledger=ledger, max_open=10)


@pytest.fixture
def no_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def delta(number: int, tokens: int = 1) -> worker_pb2.Delta:
    return worker_pb2.Delta(attempt=1, token_ids=[number] * tokens, text_end=number)


async def begin(stream: GenerationStream, cluster: FakeCluster) -> None:
    beginning = asyncio.create_task(stream.begin())
    await asyncio.sleep(0)
    cluster.mailbox.put(router_pb2.Grant(attempt=1, worker_id="w"))
    cluster.mailbox.put(worker_pb2.Started(attempt=1, prompt_tokens=3, model_version="v"))
    cluster.mailbox.put_deltas([delta(1)])
    await beginning


async def test_a_sink_gets_deltas_while_read_waits_and_they_count(
    generations: Generations, cluster: FakeCluster, ledger: FakeLedger
) -> None:
    taken: list[worker_pb2.Delta] = []

    def take(deltas: list[worker_pb2.Delta]) -> bool:
        taken.extend(deltas)
        return True

    with generations.open(generation()) as stream:
        await begin(stream, cluster)
        stream.deliver_to(take)
        assert await stream.read() == [delta(1)]
        reading = asyncio.create_task(stream.read())
        await asyncio.sleep(0)
        cluster.mailbox.put_deltas([delta(2, tokens=200)])
        assert taken == [delta(2, tokens=200)]
        assert cluster.credit_tokens == [201]
        assert stream.usage.completion_tokens == 201
        cluster.mailbox.put(worker_pb2.Ended(attempt=1))
        assert await reading == []
    assert ledger.outcomes[0] == "completed"
    assert [finish.outcome for finish in cluster.finished] == [router_pb2.OUTCOME_COMPLETED]


async def test_an_observer_sees_all_deltas_in_order_whichever_way_they_go(
    generations: Generations, cluster: FakeCluster
) -> None:
    seen: list[list[worker_pb2.Delta]] = []
    takes = True
    with generations.open(generation()) as stream:
        stream.observe(seen.append)
        await begin(stream, cluster)
        stream.deliver_to(lambda deltas: takes)
        await stream.read()
        reading = asyncio.create_task(stream.read())
        await asyncio.sleep(0)
        cluster.mailbox.put_deltas([delta(2)])
        takes = False
        cluster.mailbox.put_deltas([delta(3)])
        assert await reading == [delta(3)]
        cluster.mailbox.put(worker_pb2.Ended(attempt=1))
        assert await stream.read() == []
    assert seen == [[delta(1)], [delta(2)], [delta(3)], []]


@pytest.mark.usefixtures("no_collection")
async def test_a_closed_stream_is_freed_without_the_garbage_collector(
    generations: Generations, cluster: FakeCluster
) -> None:
    """The collector runs rarely in a process that serves (services/shared/garbage.py)."""
    with generations.open(generation()) as stream:
        await begin(stream, cluster)
        stream.deliver_to(lambda deltas: True)
    left = weakref.ref(stream)
    del stream
    cluster.mailbox = Mailbox(1)
    assert left() is None


async def test_a_stream_gets_its_tokens_at_once(generations: Generations, cluster: FakeCluster) -> None:
    with generations.open(generation(stream=True)) as stream:
        await begin(stream, cluster)
    assert not cluster.started[0].HasField("hold_back")


@pytest.mark.parametrize(
    ("sampling", "tokens"), [(worker_pb2.Sampling(), 32), (worker_pb2.Sampling(top_logprobs=2), 16)]
)
async def test_an_answer_in_one_piece_may_be_held_back(
    generations: Generations, cluster: FakeCluster, sampling: worker_pb2.Sampling, tokens: int
) -> None:
    """At most half of the credit, or the worker would wait for credit with tokens in its hands."""
    with generations.open(generation(stream=False, sampling=sampling)) as stream:
        await begin(stream, cluster)
    assert cluster.started[0].hold_back.tokens == tokens
    assert 2 * tokens <= cluster.started[0].credit_tokens


@pytest.mark.parametrize(("objectives_s", "late"), [((1, 1, 2.5, 1), 0), ((9, 9, 1.5, 9), 1), ((), 0)])
async def test_times_are_counted_by_model_pool_and_class(
    generations: Generations,
    cluster: FakeCluster,
    clock: ManualClock,
    registry: CollectorRegistry,
    objectives_s: tuple[float, ...],
    late: int,
) -> None:
    """The first token comes after 2 s, and four more follow within 8 s."""
    with generations.open(generation(objectives_s=objectives_s)) as stream:
        await clock.advance(2.0)
        await begin(stream, cluster)
        await stream.read()
        await clock.advance(8.0)
        cluster.mailbox.put_deltas([delta(2, tokens=4)])
        cluster.mailbox.put(worker_pb2.Ended(attempt=1))
        while await stream.read():
            pass

    def value(name: str) -> float | None:
        labels = {"model": "m:fr", "pool": "m", "service_class": "flex"}
        return registry.get_sample_value(f"tidegate_gateway_{name}", labels)

    assert value("ttft_seconds_sum") == 2.0
    assert value("ttft_late_total") == late
    assert value("tpot_seconds_sum") == 2.0


async def test_an_answer_of_one_token_or_one_that_was_left_has_no_pace(
    generations: Generations, cluster: FakeCluster, registry: CollectorRegistry
) -> None:
    with generations.open(generation()) as stream:
        await begin(stream, cluster)
        cluster.mailbox.put(worker_pb2.Ended(attempt=1))
        while await stream.read():
            pass
    with generations.open(generation()) as stream:
        await begin(stream, cluster)
        cluster.mailbox.put_deltas([delta(2, tokens=4)])
    assert "tidegate_gateway_tpot_seconds_count" not in {
        sample.name for metric in registry.collect() for sample in metric.samples
    }


async def answered(generations: Generations, cluster: FakeCluster, clock: ManualClock, asked: Generation) -> None:
    """Granted at once, the first token after 0.5 s, four more within 2 s."""
    with generations.open(asked) as stream:
        beginning = asyncio.create_task(stream.begin())
        await asyncio.sleep(0)
        cluster.mailbox.put(router_pb2.Grant(attempt=1, worker_id="w", model_version="v"))
        await asyncio.sleep(0)
        await clock.advance(0.5)
        cluster.mailbox.put(worker_pb2.Started(attempt=1, prompt_tokens=3, model_version="v"))
        cluster.mailbox.put_deltas([delta(1)])
        await beginning
        await stream.read()
        await clock.advance(2.0)
        last = worker_pb2.Delta(attempt=1, token_ids=[2] * 4, finish_reason=worker_pb2.FINISH_REASON_LENGTH)
        cluster.mailbox.put_deltas([last])
        cluster.mailbox.put(worker_pb2.Ended(attempt=1))
        while await stream.read():
            pass


async def test_the_router_is_told_what_an_answer_says_about_its_version(
    generations: Generations, cluster: FakeCluster, clock: ManualClock
) -> None:
    await answered(generations, cluster, clock, generation(stream=True))
    served = cluster.finished[0].served
    assert (served.model_version, served.worker_id, served.service_class) == ("v", "w", router_pb2.SERVICE_CLASS_FLEX)
    assert (served.first_token_us, served.token_us, served.choice_tokens) == (500_000, 500_000, 5)
    assert (served.failed, served.structured, served.broken) == (False, False, True)


async def test_an_answer_in_one_piece_has_no_first_token_and_one_with_a_schema_may_break_it(
    generations: Generations, cluster: FakeCluster, clock: ManualClock
) -> None:
    asked = generation(sampling=worker_pb2.Sampling(max_tokens=5, json_schema="{}"))
    await answered(generations, cluster, clock, asked)
    served = cluster.finished[0].served
    assert (served.first_token_us, served.token_us) == (0, 500_000)
    assert (served.structured, served.broken) == (True, True)


@pytest.mark.parametrize(
    ("ending", "failed"),
    [
        (worker_pb2.Ended(attempt=1, failure=worker_pb2.Failure(kind=worker_pb2.FAILURE_KIND_ENGINE)), True),
        (worker_pb2.Ended(attempt=1, failure=worker_pb2.Failure(kind=worker_pb2.FAILURE_KIND_INVALID)), False),
        (WorkerLost(), True),
        (worker_pb2.Ended(attempt=1, failure=worker_pb2.Failure(kind=worker_pb2.FAILURE_KIND_DRAINING)), None),
        (worker_pb2.Ended(attempt=1, spans=[worker_pb2.VersionSpan(model_version="u")]), None),
    ],
)
async def test_only_a_fault_of_the_version_or_its_worker_is_a_failure(
    generations: Generations, cluster: FakeCluster, ending: worker_pb2.Ended | WorkerLost, failed: bool | None
) -> None:
    """None: it says nothing about the version."""
    with suppress(TidegateError), generations.open(generation()) as stream:
        await begin(stream, cluster)
        reading = asyncio.create_task(stream.read())
        await asyncio.sleep(0)
        cluster.mailbox.put(ending)
        await reading
        await stream.read()
    told = cluster.finished[0]
    assert (told.served.failed if told.HasField("served") else None) == failed


async def test_a_client_that_leaves_says_nothing_about_the_version(
    generations: Generations, cluster: FakeCluster
) -> None:
    with generations.open(generation()) as stream:
        await begin(stream, cluster)
    assert cluster.finished[0].outcome == router_pb2.OUTCOME_CANCELLED
    assert not cluster.finished[0].HasField("served")
