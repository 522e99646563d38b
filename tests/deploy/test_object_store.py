"""The object stores of docker-compose.yml: each account may do what its process does, and nothing else."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from services.local import s3
from services.local.ports import Ports
from services.shared.objectstore import Conflict, Missing, ObjectStore, StoreError, StoreSettings, connect
from tests.support.wait import wait_until

ACCOUNTS = ("gateway", "worker", "trainer", "backup", "operator")
MODEL, CLIENTS = "tide/0123/manifest.json", "_gateway/files/tenant/file.json"
LARGE = 12 * 1024 * 1024


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """As `make env` writes them."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    for account in (*ACCOUNTS, "root"):
        (folder / f"s3-{account}").write_text(f"{account}-" * 8)
    return folder


@asynccontextmanager
async def seaweedfs(folder: Path, secrets: Path) -> AsyncIterator[str]:
    """SeaweedFS, started as in docker-compose.yml but for its ports. Yields its endpoint."""
    (folder / "data").mkdir()
    with Ports(Random()) as free:
        ports = s3.StorePorts.choose(free)
        given = {
            "STORE_SECRETS": str(secrets),
            "STORE_DATA": str(folder / "data"),
            "STORE_SCRATCH": str(folder),
            "STORE_BIND": "127.0.0.1",
            "STORE_MASTER": f"127.0.0.1:{ports.master}.{ports.master_grpc}",
            "STORE_FILER": f"127.0.0.1:{ports.filer}.{ports.filer_grpc}",
            "PATH": f"{Path(s3.program()).parent}:{os.environ['PATH']}",
        }
        argv = ["sh", "docker/s3/seaweedfs.sh", *(f"-{name}={value}" for name, value in ports.options().items())]
        with (folder / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *argv, env={**os.environ, **given}, stdout=log, stderr=log, start_new_session=True
            )
        try:
            bucket = folder / "bucket"
            await wait_until(bucket.exists, description="the bucket is there", timeout=60)
            yield f"http://127.0.0.1:{ports.s3}"
        finally:
            # On SIGTERM it only waits for itself.
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


@pytest.mark.timeout(180)
async def test_each_account_may_do_what_its_process_does(tmp_path: Path, secrets: Path) -> None:
    async with seaweedfs(tmp_path, secrets) as endpoint:
        stores = {
            account: connect(
                StoreSettings(
                    s3_endpoint=endpoint,
                    s3_access_key=account,
                    s3_secret_key=(secrets / f"s3-{account}").read_text(),
                )
            )
            for account in ACCOUNTS
        }
        await stores["operator"].put_new(MODEL, b"model")
        await stores["operator"].put_new(CLIENTS, b"file")
        may = {
            account: [await rights(store, name, account, tmp_path) for name in (MODEL, CLIENTS)]
            for account, store in stores.items()
        }
        assert may == {
            "gateway": [set(), {"get", "write", "delete"}],
            "worker": [{"get"}, set()],
            "trainer": [{"get", "write"}, set()],
            "backup": [{"get"}, {"get"}],
            "operator": [{"get", "write", "delete"}, {"get", "write", "delete"}],
        }
        for account, name in (("gateway", CLIENTS), ("worker", MODEL), ("trainer", MODEL), ("operator", MODEL)):
            # What is not there is missing, not forbidden: the registry and the batches count on that.
            with pytest.raises(Missing):
                await stores[account].get(f"{name}.not-there")
            assert name in [found async for found in stores[account].list("")]
        with pytest.raises(StoreError):
            await connect(StoreSettings(s3_endpoint=endpoint, s3_access_key="worker", s3_secret_key="wrong")).get(MODEL)


async def rights(store: ObjectStore, name: str, account: str, folder: Path) -> set[str]:
    """What an account may do with the object `name`, and with new ones beside it."""
    new = f"{name}-{account}"
    large = folder / "large"
    if not large.exists():
        large.write_bytes(bytes(LARGE))
    found = set()
    if await succeeds(store.get(name)):
        found.add("get")
    if await succeeds(store.put_new(new, b"1")):
        found.add("write")
        with pytest.raises(Conflict):
            await store.put_new(new, b"2")
        _, etag = await store.get(new)
        await store.put_if(new, b"3", etag)
        with pytest.raises(Conflict):
            await store.put_if(new, b"4", etag)
        await store.upload(f"{new}-large", large, lambda _: None)  # in parts
    if await succeeds(store.delete(new)):
        found.add("delete")
    return found


async def succeeds(call: Awaitable[object]) -> bool:
    try:
        await call
    except StoreError:
        return False
    return True


MC = f"""#!{sys.executable}
import json, os, sys
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
if sys.argv[1:4] == ["admin", "policy", "attach"] and os.environ.get("ATTACHED"):
    sys.exit("the policy is attached already")
if sys.argv[1:4] == ["admin", "user", "info"]:
    print('{{"status":"success","accessKey":"' + sys.argv[5] + '","policyName":"' + sys.argv[5] + '"}}')
"""


@pytest.mark.parametrize("attached", ["", "yes"])
def test_minio_gets_the_same_accounts_also_when_called_again(tmp_path: Path, secrets: Path, attached: str) -> None:
    program, calls = tmp_path / "mc", tmp_path / "calls"
    program.write_text(MC)
    program.chmod(0o755)
    given = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "STORE_SECRETS": str(secrets),
        "CALLS": str(calls),
        "ATTACHED": attached,
    }
    subprocess.run(["sh", "docker/s3/minio.sh"], env={**os.environ, **given}, check=True, timeout=60)
    made = [json.loads(line) for line in calls.read_text().splitlines()]
    assert made[:2] == [
        ["alias", "set", "store", "http://object-store:9000", "root", "root-" * 8],
        ["mb", "--ignore-existing", "store/tidegate"],
    ]
    for account in ACCOUNTS:
        assert ["admin", "policy", "create", "store", account, f"docker/s3/policies/{account}.json"] in made
        assert ["admin", "user", "add", "store", account, f"{account}-" * 8] in made
        assert ["admin", "policy", "attach", "store", account, "--user", account] in made


@pytest.mark.parametrize("account", ACCOUNTS)
def test_no_account_may_more_than_objects(account: str) -> None:
    policy = json.loads(Path(f"docker/s3/policies/{account}.json").read_text())
    for statement in policy["Statement"]:
        assert all(resource.startswith("arn:aws:s3:::tidegate") for resource in statement["Resource"])
        assert statement["Effect"] == "Deny" or not any("*" in action for action in statement["Action"])
