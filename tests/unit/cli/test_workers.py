"""What `tidegate workers` and `tidegate status` show fits 80 columns, each worker and process on a line."""

import pytest

from services.cli.clients.worker_status import LoadedAdapter, Worker
from services.cli.views.processes import process_table
from services.cli.views.workers import worker_tables
from services.local.cluster_record import Addresses, ClusterRecord, ProcessRecord
from tests.unit.cli.terminal import WIDTH, shown
from tidegate.router.v1 import router_pb2 as pb

POOL = "smollm2-135m-instruct"


def worker(number: int, pool: str = POOL, kv_tokens: int = 1_048_576, adapters: dict[str, str] | None = None) -> Worker:
    return Worker(
        id=f"worker-{number}",
        pool=pool,
        pid=4_194_304,
        address="127.0.0.1:31999",
        state="draining",
        version="0123456789ab" * 5,
        running=128,
        slots=128,
        kv_tokens_used=1_048_576,
        kv_tokens=kv_tokens,
        kv_tokens_reserved=262_144,
        waiting=1000,
        golden_prompts_proved=3,
        heartbeat_age_ms=1234,
        loaded_adapters=tuple(LoadedAdapter(name=name, version=of) for name, of in (adapters or {}).items()),
    )


def test_workers_stand_by_pool_each_on_a_line() -> None:
    lines = shown(worker_tables([worker(1), worker(16), worker(2, "tide")]))
    assert max(map(len, lines)) <= WIDTH
    assert [line.split()[0] if line else "" for line in lines] == [
        POOL, "worker", "worker-1", "worker-16", "", "tide", "worker", "worker-2"
    ]  # fmt: skip
    assert lines[3].split() == [
        "worker-16", "draining", "0123456789ab", "128/128", "1000", "100%", "25%", "1.23s"
    ]  # fmt: skip


def test_a_worker_that_has_not_told_its_cache_shows_no_share() -> None:
    assert shown(worker_tables([worker(1, kv_tokens=0)]))[-1].split()[-3:] == ["-", "-", "1.23s"]


def test_adapters_in_memory_stand_below_with_their_workers() -> None:
    old, new = "a" * 64, "b" * 64
    members = [worker(1, adapters={"legal": old, "support-de": old}), worker(2, adapters={"legal": new}), worker(3)]
    lines = shown(worker_tables([*members, worker(4, "tide", adapters={"legal": old})]))
    assert max(map(len, lines)) <= WIDTH
    assert [line.split() for line in lines[6:11]] == [
        [f"{POOL}:", "adapters", "in", "memory"],
        ["adapter", "version", "workers"],
        ["legal", old[:12], "worker-1"],
        ["legal", new[:12], "worker-2"],
        ["support-de", old[:12], "worker-1"],
    ]
    assert lines[-1].split() == ["legal", old[:12], "worker-4"]
    both = shown(worker_tables([worker(1, adapters={"legal": old}), worker(2, adapters={"legal": old})]))
    assert both[-1].split() == ["legal", old[:12], "worker-1,", "worker-2"]


@pytest.mark.parametrize(
    ("told", "known"), [(["v1", "v2"], ["v2", "v1"]), ([], ["", ""])], ids=["new", "older release"]
)
def test_a_heartbeat_tells_the_adapters_in_memory(told: list[str], known: list[str]) -> None:
    heartbeat = pb.Heartbeat(
        worker_id="worker-1", pool=POOL, loaded_adapters=["support-de", "legal"], loaded_adapter_versions=told
    )
    found = Worker.of(pb.WorkerStatus(heartbeat=heartbeat)).loaded_adapters
    assert [(adapter.name, adapter.version) for adapter in found] == list(
        zip(["legal", "support-de"], known, strict=True)
    )


def test_that_there_are_none_is_said() -> None:
    assert shown(worker_tables([])) == ["no workers"]


def test_processes_stand_each_on_a_line() -> None:
    at = "127.0.0.1:31999"
    record = ClusterRecord(
        supervisor_pid=1,
        supervisor_created=1.0,
        state="running",
        addresses=Addresses(rest=at, grpc=at, redis=at, s3=f"http://{at}", routers=(at,)),
        models=(POOL,),
        processes=tuple(
            ProcessRecord(
                name=name, pid=4_194_304, created=1.0, address=at, http_address=at, state="starting", restarts=9, log=""
            )
            for name in ("router-16", "worker-64", "gateway")
        ),
    )
    lines = shown(process_table(record))
    assert max(map(len, lines)) <= WIDTH
    assert lines[2].split() == ["worker-64", "4194304", at, at, "starting", "9"]
    assert len(lines) == 4
