"""The scripts on real stores. `python -m tests.robustness.backup` runs them on a whole cluster."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from services.shared.objectstore import StoreSettings, connect
from tests.deploy.installation import Installation
from tests.support.postgres import Postgres, running_postgres
from tests.support.s3 import running_s3

pytestmark = pytest.mark.timeout(300)

OBJECTS = {
    "tide/aliases/latest.json": b'{"version": "1"}',
    "tide/1/model.safetensors": b"w" * 9_000_000,
    "_gateway/open-batches/tenant/batch": b"",
}
NAME = "before-the-loss"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[StoreSettings]:
    async with running_s3(tmp_path) as settings:
        yield settings


def installation(folder: Path, store: StoreSettings, server: Postgres, url: str) -> Installation:
    reached = {
        "TIDEGATE_S3_ENDPOINT": store.s3_endpoint,
        "TIDEGATE_S3_ACCESS_KEY": store.s3_access_key,
        "TIDEGATE_S3_SECRET_KEY": store.s3_secret_key,
        "TIDEGATE_S3_SECRET_KEY_FILE": "",
    }
    database = {"DATABASE": url, "PATH": f"{server.programs}:{os.environ['PATH']}"}
    return Installation.make(folder, {"backup-bucket": reached, "operator": reached, "backup-database": database})


async def test_database_bucket_and_keys_come_back(tmp_path: Path, store: StoreSettings) -> None:
    bucket = connect(store)
    with running_postgres() as server:
        url = server.new_database()
        plain = url.replace("+psycopg", "")
        made = installation(tmp_path, store, server, plain)
        for name, content in OBJECTS.items():
            await bucket.put_new(name, content)
        with psycopg.connect(plain) as connection:
            connection.execute("CREATE TABLE ledger (id text PRIMARY KEY, tokens int)")
            connection.execute("INSERT INTO ledger VALUES ('a', 1), ('b', 2)")
        keys = keys_of(made)
        saved = made.script("backup.sh", NAME)
        assert saved.returncode == 0, saved.stderr

        server.empty(url)
        for name in OBJECTS:
            await bucket.delete(name)
        refused_while_keys_differ(made)
        shutil.rmtree(made.root / ".secrets")
        (made.root / ".env").unlink()
        restored = made.script("restore.sh", NAME)
        assert restored.returncode == 0, restored.stderr

        with psycopg.connect(plain) as connection:
            assert connection.execute("SELECT * FROM ledger ORDER BY id").fetchall() == [("a", 1), ("b", 2)]
        for name, content in OBJECTS.items():
            assert b"".join([piece async for piece in bucket.stream(name)]) == content
        assert keys_of(made) == keys
    assert [call for call in made.calls() if call[0] != "run"] == [
        ["down"],
        ["up", "-d", "--wait", "postgres", "seaweedfs"],
        ["up", "-d"],
    ]


def refused_while_keys_differ(made: Installation) -> None:
    """Nothing happens then."""
    file, before = made.root / ".secrets/server-secret", made.calls()
    kept = file.read_text()
    file.write_text("another")
    refused = made.script("restore.sh", NAME)
    assert refused.returncode == 1
    assert "the keys in .secrets/ are not those of the backup" in refused.stderr
    assert made.calls() == before
    file.write_text(kept)


def keys_of(made: Installation) -> dict[str, str]:
    return {file.name: file.read_text() for file in (made.root / ".env", *(made.root / ".secrets").iterdir())}


def test_a_backup_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    made = Installation.make(tmp_path, {})
    (made.root / "backups/half").mkdir(parents=True)
    (made.root / "backups/half/database.dump").touch()
    refused = made.script("restore.sh", "half")
    assert (refused.returncode, made.calls()) == (1, [])
    assert "backups/half/bucket.json is missing: this is no whole backup" in refused.stderr


def test_a_backup_that_fails_leaves_nothing_that_looks_like_one(tmp_path: Path) -> None:
    away = {"DATABASE": "postgresql://nobody@127.0.0.1:9/none"}
    made = Installation.make(tmp_path, {"backup-database": away})
    failed = made.script("backup.sh", NAME)
    assert failed.returncode != 0
    assert list((made.root / "backups").iterdir()) == []


@pytest.mark.parametrize("name", ["objects", "../up", ".hidden", "a b"])
def test_names_of_backups_are_plain(tmp_path: Path, name: str) -> None:
    failed = Installation.make(tmp_path, {}).script("backup.sh", name)
    assert failed.returncode == 1
    assert "cannot be the name of a backup" in failed.stderr
