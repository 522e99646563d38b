"""Data of a bucket is brought here once, and never outside of its folder."""

from pathlib import Path

import obstore
import pytest
from obstore.store import MemoryStore

from services.shared.objectstore import ObjectStore
from trainer import remote_data
from trainer.data.reader import load
from trainer.data.wrong import WrongData
from trainer.sources.s3 import S3Prefix

LINE = b'{"text": "The tide."}\n'


@pytest.fixture
def bucket() -> MemoryStore:
    store = MemoryStore()
    for name in ("chats/b/two.jsonl", "chats/one.jsonl", "chats/README.md", "chats-of-others/three.jsonl"):
        obstore.put(store, name, LINE)
    return store


def place(bucket: MemoryStore, prefix: str) -> S3Prefix:
    return S3Prefix("data", prefix, ObjectStore(bucket))


async def test_a_prefix_becomes_a_folder_and_is_read_from_there_again(bucket: MemoryStore, tmp_path: Path) -> None:
    folder = await remote_data.fetch_from(place(bucket, "chats"), "s3://data/chats", tmp_path)
    assert [sample.place for sample in load(folder).samples] == ["b/two.jsonl:1", "one.jsonl:1"]
    for name in ("chats/one.jsonl", "chats/b/two.jsonl"):
        obstore.put(bucket, name, b"changed")
    again = await remote_data.fetch_from(place(bucket, "chats"), "s3://data/chats", tmp_path)
    assert load(again).report.kept == 2


async def test_one_object_is_read_as_a_file(bucket: MemoryStore, tmp_path: Path) -> None:
    file = await remote_data.fetch_from(place(bucket, "chats/one.jsonl"), "s3://data/chats/one.jsonl", tmp_path)
    assert file.read_bytes() == LINE


@pytest.mark.parametrize(
    ("prefix", "told"),
    [("nowhere", "no object there ends in .jsonl"), ("chats/none.jsonl", "there is no object chats/none.jsonl")],
)
async def test_what_is_not_there_is_told(bucket: MemoryStore, tmp_path: Path, prefix: str, told: str) -> None:
    with pytest.raises(WrongData, match=f"^s3://data/{prefix}: {told}"):
        await remote_data.fetch_from(place(bucket, prefix), f"s3://data/{prefix}", tmp_path)


async def test_data_that_is_too_large_is_not_brought_whole(bucket: MemoryStore, tmp_path: Path) -> None:
    with pytest.raises(WrongData, match=f"more than {len(LINE)} bytes"):
        await remote_data.fetch_from(place(bucket, "chats"), "s3://data/chats", tmp_path, len(LINE))


async def test_a_wrong_address_is_told(tmp_path: Path) -> None:
    with pytest.raises(WrongData, match="write s3://bucket/prefix"):
        await remote_data.fetch("s3://", tmp_path, {})
