from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from services.local.data_folder import DataFolder
from services.local.machine import Machine
from services.local.options import UpOptions
from services.local.ports import Ports
from services.local.process_plan import PortPlan, ProcessPlan
from services.local.secrets import Secrets
from services.shared.config import Cluster, Pool
from services.shared.engine_settings import SimulatedEngine, VllmEngine
from services.worker.engine.vllm.executor import PINNED_THREADS

MACHINE = Machine(redis="/bin/redis", weed="/bin/weed", cores=8, vllm_on_cpu=True, preload=("/lib/a.so", "/lib/b.so"))
SECRETS = Secrets(
    api_key="k1", admin_key="k2", server_secret="k6", redis_password="k3", s3_access_key="k4", s3_secret_key="k5"
)


def plan_for(*pools: Pool, machine: Machine = MACHINE, **given: Any) -> ProcessPlan:
    options = UpOptions(data_dir=Path("/data"), working_dir=Path("/here"), **given)
    with Ports(Random(1)) as free:
        followers = sum(pool.workers * (pool.engine.nodes - 1) for pool in pools)
        ports = PortPlan.choose(free, options, sum(pool.workers for pool in pools), followers)
    return ProcessPlan(DataFolder(Path("/data")), Cluster(pools=pools), SECRETS, "public", ports, machine)


REAL = Pool(name="real", model="m", workers=2)
MADE_UP = Pool(name="made-up", model="simulated", workers=1, engine=SimulatedEngine())


def test_each_worker_has_its_pool_ports_and_cache() -> None:
    workers = plan_for(REAL, MADE_UP).worker_processes()
    assert [(worker.name, worker.env["TIDEGATE_POOL"]) for worker in workers] == [
        ("worker-1", "real"),
        ("worker-2", "real"),
        ("worker-3", "made-up"),
    ]
    for key in ("TIDEGATE_WORKER_ID", "TIDEGATE_LISTEN", "TIDEGATE_HTTP_LISTEN", "TIDEGATE_CACHE_DIR"):
        assert len({worker.env[key] for worker in workers}) == 3


def test_a_worker_of_several_nodes_has_followers_that_know_it() -> None:
    split = REAL.model_copy(update={"engine": VllmEngine(tensor_parallel=3, nodes=3)})
    plan = plan_for(MADE_UP, split)
    leaders, followers = plan.worker_processes()[1:], plan.follower_processes()
    assert [follower.name for follower in followers] == [
        f"worker-{worker}-node-{rank}" for worker in (2, 3) for rank in (1, 2)
    ]
    assert all(follower.argv[-2:] == ("services.worker", "--follow") for follower in followers)
    assert [follower.env["TIDEGATE_NODE_RANK"] for follower in followers] == ["1", "2", "1", "2"]
    assert [follower.env["TIDEGATE_GROUP_ADDRESS"] for follower in followers] == [
        leader.address for leader in leaders for _ in range(2)
    ]
    assert len({each.env["TIDEGATE_CACHE_DIR"] for each in (*leaders, *followers)}) == 6
    assert {each.env["OMP_NUM_THREADS"] for each in (*leaders, *followers)} == {"1"}
    assert all(follower.http_address.startswith("127.0.0.1:") for follower in followers)
    assert not {"k1", "k2", "k3"} & {value for follower in followers for value in follower.env.values()}


def test_a_worker_of_one_node_has_no_follower() -> None:
    assert plan_for(REAL, MADE_UP).follower_processes() == ()


def test_everyone_is_told_of_every_router_and_listens_on_loopback() -> None:
    plan = plan_for(MADE_UP, routers=2)
    routers = plan.router_processes()
    for process in (*plan.worker_processes(), plan.gateway_process()):
        assert process.env["TIDEGATE_ROUTERS"] == ",".join(router.address for router in routers)
        assert process.env["TIDEGATE_CONFIG"] == "/data/tidegate.yaml"
        assert process.env["TIDEGATE_LISTEN"].startswith("127.0.0.1:")


def test_no_key_stands_on_a_command_line_or_in_a_description() -> None:
    plan = plan_for(REAL, routers=2)
    processes = (plan.redis_process(), plan.store_process(), plan.gateway_process())
    for process in (*processes, *plan.router_processes(), *plan.worker_processes()):
        assert not {"k1", "k2", "k3", "k4", "k5", "k6"} & {word for part in process.argv for word in part.split("=")}
        assert "k3" not in repr(process)


def test_gateway_and_trainer_share_the_database_that_was_named() -> None:
    url = "postgresql://tidegate@localhost/tidegate"
    plan = replace(plan_for(REAL), database_url=url)
    for process in (plan.gateway_process(), plan.trainer_process()):
        assert process.env["TIDEGATE_DATABASE_URL"] == url
        assert url not in process.argv
    assert "TIDEGATE_DATABASE_URL" not in plan_for(REAL).gateway_process().env


def test_only_those_who_need_a_key_get_it() -> None:
    plan = plan_for(REAL)
    for worker in plan.worker_processes():
        assert "TIDEGATE_API_KEY" not in worker.env
        assert "TIDEGATE_SERVER_SECRET" not in worker.env
        assert "TIDEGATE_REDIS_URL" not in worker.env
    gateway = plan.gateway_process().env
    assert not [name for name in gateway if "SIGNING" in name or "REDIS" in name]
    assert gateway["TIDEGATE_S3_SECRET_KEY"]  # of files and batches


def test_workers_on_one_cpu_share_all_its_cores_but_one_and_bind_to_none() -> None:
    several, single = (
        plan_for(REAL).worker_processes()[0],
        plan_for(replace_workers(REAL, 1)).worker_processes()[0],
    )
    assert (several.env["OMP_NUM_THREADS"], single.env["OMP_NUM_THREADS"]) == ("3", "7")
    assert PINNED_THREADS not in {*several.env, *single.env}
    assert several.env["LD_PRELOAD"] == "/lib/a.so:/lib/b.so"


def test_a_worker_of_several_processes_has_the_share_of_each() -> None:
    engine = VllmEngine(tensor_parallel=2, pipeline_parallel=2)
    worker = plan_for(REAL.model_copy(update={"workers": 1, "engine": engine}), MADE_UP).worker_processes()[0]
    assert worker.env["OMP_NUM_THREADS"] == "1"
    two = REAL.model_copy(update={"workers": 1, "engine": VllmEngine(tensor_parallel=2)})
    assert plan_for(two).worker_processes()[0].env["OMP_NUM_THREADS"] == "3"


def test_a_machine_of_one_core_has_one_thread() -> None:
    worker = plan_for(REAL, machine=replace(MACHINE, cores=1)).worker_processes()[0]
    assert worker.env["OMP_NUM_THREADS"] == "1"


def test_only_vllm_on_a_cpu_is_given_its_libraries() -> None:
    assert "LD_PRELOAD" not in plan_for(MADE_UP).worker_processes()[0].env
    on_gpu = plan_for(REAL, machine=replace(MACHINE, vllm_on_cpu=False)).worker_processes()[0]
    assert "LD_PRELOAD" not in on_gpu.env
    assert on_gpu.env["HF_HUB_OFFLINE"] == "1"


def test_workers_have_gpus_of_their_own_and_the_trainer_those_that_are_left() -> None:
    machine = replace(MACHINE, vllm_on_cpu=False, gpus=("0", "1", "2", "3"))
    split = Pool(name="split", model="m", workers=1, engine=VllmEngine(tensor_parallel=2, nodes=2))
    plan = plan_for(MADE_UP, Pool(name="one", model="m", workers=1), split, machine=machine)
    made_up, *others = (*plan.worker_processes(), *plan.follower_processes(), plan.trainer_process())
    assert "CUDA_VISIBLE_DEVICES" not in made_up.env
    assert [process.env["CUDA_VISIBLE_DEVICES"] for process in others] == ["0", "1", "2", "3"]
    full = plan_for(Pool(name="all", model="m", engine=VllmEngine(tensor_parallel=4)), machine=machine)
    assert "CUDA_VISIBLE_DEVICES" not in full.trainer_process().env


def test_named_ports_are_the_gateways() -> None:
    with Ports(Random(7)) as free:
        rest, grpc = free.free(), free.free()
    addresses = plan_for(MADE_UP, rest_port=rest, grpc_port=grpc).addresses
    assert (addresses.rest, addresses.grpc) == (f"127.0.0.1:{rest}", f"127.0.0.1:{grpc}")


def test_seaweedfs_listens_on_loopback_and_reports_to_nobody() -> None:
    argv = plan_for(MADE_UP).store_process().argv
    assert {"-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"} <= set(argv)


def replace_workers(pool: Pool, workers: int) -> Pool:
    return pool.model_copy(update={"workers": workers})
