"""The worker's HTTP endpoints, and the process of `python -m services.worker`."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import httpx

from services.worker.app import WorkerApp
from services.worker.status import State
from tests.integration.worker.gateway import connected
from tests.integration.worker.router import Router
from tests.support.signing import KEY
from tests.support.wait import wait_until
from tidegate.worker.v1 import worker_pb2 as pb


async def test_probes_and_metrics(worker: WorkerApp) -> None:
    async with connected(worker.address) as gateway:
        await gateway.start(1, sampling=pb.Sampling(ignore_eos=True, max_tokens=7))
        await gateway.end_of(1)
    async with httpx.AsyncClient(base_url=f"http://{worker.http_address}") as http:
        await wait_until(lambda: worker.ready() is None, description="it is ready")
        assert (await http.get("/livez")).status_code == 200
        assert (await http.get("/readyz")).status_code == 200
        metrics = (await http.get("/metrics")).text
        assert 'tidegate_worker_tokens_generated_total{pool="tide"} 7.0' in metrics
        assert 'tidegate_worker_requests_total{outcome="completed",pool="tide"} 1.0' in metrics
        info = worker.engine.info
        named = f'architecture="{info.architecture}",pool="tide",version="{info.model_version[:12]}"'
        assert f"tidegate_worker_info{{{named}}} 1.0" in metrics
        worker.status.enter(State.DRAINING)
        assert (await http.get("/livez")).status_code == 200
        assert (await http.get("/readyz")).status_code == 503
        await worker.engine.stop()
        assert (await http.get("/livez")).status_code == 503


async def run_process(environ: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "services.worker"),
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def environment(folder: Path, router: Router) -> dict[str, str]:
    (folder / "tidegate.yaml").write_text("pools: [{name: tide, model: tide, engine: {kind: simulated}}]")
    return {
        "PATH": os.environ["PATH"],
        "TIDEGATE_CONFIG": str(folder / "tidegate.yaml"),
        "TIDEGATE_LISTEN": "127.0.0.1:0",
        "TIDEGATE_HTTP_LISTEN": "127.0.0.1:0",
        "TIDEGATE_POOL": "tide",
        "TIDEGATE_ROUTERS": router.address,
        "TIDEGATE_CACHE_DIR": str(folder),
        "TIDEGATE_S3_ENDPOINT": "http://127.0.0.1:9",
        "TIDEGATE_S3_ACCESS_KEY": "none",
        "TIDEGATE_S3_SECRET_KEY": "none",
        "TIDEGATE_TRUSTED_KEYS": KEY.public,
    }


async def test_a_process_without_a_store_waits_attached_and_leaves_when_told(tmp_path: Path, router: Router) -> None:
    process = await run_process(environment(tmp_path, router))
    await wait_until(lambda: router.heartbeats, description="it attaches", timeout=60)
    assert router.heartbeats[0].pid == process.pid
    process.send_signal(signal.SIGTERM)
    out, err = await process.communicate()
    assert (process.returncode, out) == (0, b"")
    assert b"attached to router test" in err
    assert len(router.goodbyes) == 1


async def test_wrong_settings_stop_the_start(tmp_path: Path, router: Router) -> None:
    process = await run_process(environment(tmp_path, router) | {"TIDEGATE_POOL": "ebb"})
    _, err = await process.communicate()
    assert process.returncode == 2
    assert b"no pool is named 'ebb'" in err
