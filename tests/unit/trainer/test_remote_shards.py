"""Shards of a bucket are brought here once, and every file is the one that shards.json names."""

from pathlib import Path

import obstore
import pytest
from obstore.store import MemoryStore

from services.shared.objectstore import ObjectStore
from tests.unit.trainer.data.numbered_shards import shards
from trainer.data.shards import open_shards
from trainer.data.wrong import WrongData
from trainer.remote_shards import fetch_from
from trainer.sources.s3 import S3Prefix


@pytest.fixture
def bucket(tmp_path: Path) -> MemoryStore:
    made, store = tmp_path / "made", MemoryStore()
    shards(made, {"web": [40, 10]})
    for file in made.rglob("*"):
        if file.is_file():
            obstore.put(store, f"corpora/web/{file.relative_to(made)}", file.read_bytes())
    return store


def place(bucket: MemoryStore) -> S3Prefix:
    return S3Prefix("data", "corpora/web", ObjectStore(bucket))


async def test_they_are_brought_whole_and_not_again(bucket: MemoryStore, tmp_path: Path) -> None:
    here = await fetch_from(place(bucket), tmp_path / "data")
    assert here
    open_shards(here).verify()
    obstore.delete(bucket, "corpora/web/web-0.bin")
    assert await fetch_from(place(bucket), tmp_path / "data") == here


async def test_a_call_that_was_stopped_is_gone_on_with(bucket: MemoryStore, tmp_path: Path) -> None:
    last = bytes(obstore.get(bucket, "corpora/web/web-1.bin").bytes())
    obstore.delete(bucket, "corpora/web/web-1.bin")
    with pytest.raises(WrongData, match="names an object that is not there"):
        await fetch_from(place(bucket), tmp_path / "data")
    obstore.put(bucket, "corpora/web/web-1.bin", last)
    obstore.delete(bucket, "corpora/web/web-0.bin")  # it is here already
    here = await fetch_from(place(bucket), tmp_path / "data")
    assert here
    open_shards(here).verify()


async def test_a_changed_object_is_refused(bucket: MemoryStore, tmp_path: Path) -> None:
    obstore.put(bucket, "corpora/web/web-1.bin.index", b"\x01" * 8)
    with pytest.raises(WrongData, match=r"web-1\.bin\.index: the object is not what shards\.json says"):
        await fetch_from(place(bucket), tmp_path / "data")


async def test_what_is_no_file_of_a_tokenizer_is_not_brought(bucket: MemoryStore, tmp_path: Path) -> None:
    obstore.put(bucket, "corpora/web/tokenizer/model.py", b"print()")
    with pytest.raises(WrongData, match=r"tokenizer/model\.py: it is no file of a tokenizer"):
        await fetch_from(place(bucket), tmp_path / "data")


async def test_other_data_is_not_taken_for_shards(tmp_path: Path) -> None:
    assert await fetch_from(place(MemoryStore()), tmp_path / "data") is None
    assert not (tmp_path / "data").exists()
