"""Shards go to a bucket with shards.json last, and come back as they were."""

from pathlib import Path

import pytest
from obstore.store import MemoryStore

from services.shared.objectstore import ObjectStore, Progress
from tests.unit.trainer.data.shard_folder import write_shards
from trainer import remote_shards
from trainer.data.shards import open_shards
from trainer.preparing.shard_bucket import upload_to
from trainer.sources.s3 import S3Prefix


async def test_what_was_uploaded_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []

    class Recorded(ObjectStore):
        async def upload(self, name: str, file: Path, progress: Progress) -> None:
            names.append(name)
            await super().upload(name, file, progress)

    place = S3Prefix("bucket", "corpora/web", Recorded(MemoryStore()))
    folder = write_shards(tmp_path / "shards", {"web": (1.0, [[[1, 2]], [[3]]])})
    await upload_to(folder, place)
    assert names[-1] == "corpora/web/shards.json"
    assert {"corpora/web/web/00000.ds", "corpora/web/web/00000.ds.index", "corpora/web/tokenizer/tokenizer.json"} < {
        *names
    }
    fetched = await remote_shards.fetch_from(place, tmp_path / "fetched")
    assert fetched
    shards = open_shards(fetched)
    shards.verify()
    assert shards.manifest == open_shards(folder).manifest
