"""One drill: chat, back up, lose every volume and every key, restore, chat again."""

import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from openai import OpenAI

from services.local.data_folder import DataFolder, write_private
from services.local.process_spec import StoreProbe
from services.local.readiness import not_ready_reason
from services.local.secrets import Secrets
from services.shared.objectstore import StoreSettings
from services.shared.settings import read
from tests.deploy.installation import Installation
from tests.robustness.cluster_under_test import ClusterUnderTest, cluster_under_test
from tests.support.cluster import RunningCluster, tidegate
from tests.support.postgres import Postgres, running_postgres
from tests.support.wait import wait_until

CONFIG = """
pools:
  - {name: tide, model: simulated, workers: 1, engine: {kind: simulated, step_ms: 1}}
"""
NAME = "before-the-loss"
STORES = {"redis", "s3"}
SETTINGS = {"redis.conf", "s3.json"}


def ask(cluster: RunningCluster, key: str) -> tuple[str, str]:
    """The answer, and the version that gave it."""
    with OpenAI(base_url=cluster.rest, api_key=key, max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="tide",
            messages=[{"role": "user", "content": "Where does the tide go?"}],
            max_tokens=12,
            temperature=0,
        )
    return str(raw.parse().choices[0].message.content), raw.headers["x-tidegate-model-version"]


def ledger(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT * FROM ledger ORDER BY 1").fetchall()


def command(cluster: RunningCluster, *arguments: str) -> str:
    done = tidegate(cluster.folder, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def give_keys(folder: Path, installation: Installation) -> None:
    """The cluster on this machine gets the keys of the installation, which the backup carries."""
    data = DataFolder.at(folder / ".tidegate")
    data.prepare()
    kept = {
        name: (installation.root / ".secrets" / name.replace("_", "-")).read_text()
        for name in ("api_key", "admin_key", "server_secret")
    }
    write_private(data.secrets, Secrets.generate().model_copy(update=kept).model_dump_json())
    write_private(data.signing_key, (installation.root / ".secrets/signing-key.pem").read_text())


def variables(cluster: RunningCluster, server: Postgres, url: str) -> Mapping[str, Mapping[str, str]]:
    """How the tools of docker compose reach the stores of the cluster on this machine."""
    kept = Secrets.model_validate_json(DataFolder(cluster.folder / ".tidegate").secrets.read_bytes())
    store = {
        "TIDEGATE_S3_ENDPOINT": cluster.record.addresses.s3,
        "TIDEGATE_S3_ACCESS_KEY": kept.s3_access_key,
        "TIDEGATE_S3_SECRET_KEY": kept.s3_secret_key,
        "TIDEGATE_S3_SECRET_KEY_FILE": "",
    }
    database = {"DATABASE": url, "PATH": f"{server.programs}:{os.environ['PATH']}"}
    return {"backup-bucket": store, "operator": store, "backup-database": database}


async def lose_everything(cluster: ClusterUnderTest, database: Postgres, url: str) -> None:
    """Stops all processes and empties what would be volumes. The stores run again then, without content."""
    data = DataFolder(cluster.view.cluster.folder / ".tidegate")
    for name in sorted(cluster.injector.processes.keys() - STORES):
        cluster.injector.stop(name)
    for name in STORES:
        cluster.injector.kill(name)
    volumes = [folder for folder in data.root.iterdir() if folder.is_dir() and folder != data.logs]
    for content in (content for folder in volumes for content in folder.iterdir() if content.name not in SETTINGS):
        shutil.rmtree(content) if content.is_dir() else content.unlink()
    database.empty(url)
    cluster.injector.start("s3")
    probe = StoreProbe(read(StoreSettings, cluster.injector.processes["gateway"].environment))

    async def is_ready() -> bool:
        return await not_ready_reason(probe) is None

    await wait_until(is_ready, description="the store takes objects", timeout=60)


async def start_again(cluster: ClusterUnderTest) -> None:
    for name in sorted(cluster.injector.processes.keys() - {"s3"}, reverse=True):
        cluster.injector.start(name)
    serving = ["gateway", "worker-1"]

    async def ready() -> bool:
        return await cluster.view.ready(serving) == serving

    await wait_until(ready, description="gateway and worker are ready", timeout=90)


@dataclass(frozen=True, slots=True)
class Seen:
    """What there was of an installation: an answer with its version, ledger rows, and keys."""

    answer: tuple[str, str]
    rows: list[tuple[Any, ...]]
    keys: dict[str, str]


async def drill(root: Path) -> tuple[Seen, Seen]:
    """The installation before the loss, and after the restore. `root` is an empty folder."""
    installation = Installation.make(root, {})
    folder = root / "cluster"
    folder.mkdir()
    give_keys(folder, installation)
    with running_postgres() as database:
        url = database.new_database()
        plain = url.replace("+psycopg", "")
        with cluster_under_test(folder, CONFIG, "--database-url", url) as cluster:
            running = cluster.view.cluster
            # Not what a new cluster begins with: another model, and a tenant's key.
            command(running, "models", "import", "simulated:7", "--name", "simulated")
            command(running, "models", "promote", "simulated", "candidate")
            command(running, "keys", "tenant", "acme")
            key = command(running, "keys", "create", "laptop", "--tenant", "acme").strip()
            answer = ask(running, key)
            await wait_until(lambda: len(ledger(plain)) == 1, description="the answer is in the ledger", timeout=30)
            before = Seen(answer, ledger(plain), keys_of(installation))

            installation = Installation(installation.root, variables(running, database, plain))
            called(installation, "backup.sh")
            await lose_everything(cluster, database, url)
            shutil.rmtree(installation.root / ".secrets")
            (installation.root / ".env").unlink()
            called(installation, "restore.sh")
            # Users inside the containers read them.
            assert {stat.S_IMODE(file.stat().st_mode) for file in (installation.root / ".secrets").iterdir()} == {0o644}
            rows = ledger(plain)
            await start_again(cluster)
            return before, Seen(ask(running, key), rows, keys_of(installation))


def called(installation: Installation, script: str) -> None:
    done = installation.script(script, NAME)
    assert done.returncode == 0, done.stdout + done.stderr


def keys_of(installation: Installation) -> dict[str, str]:
    files = [installation.root / ".env", *(installation.root / ".secrets").iterdir()]
    return {file.name: file.read_text() for file in files}
