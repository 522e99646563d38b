import pytest
from obstore.store import MemoryStore

from services.shared import objectstore
from services.shared.objectstore import ObjectStore, StoreError


@pytest.fixture
def store() -> ObjectStore:
    return ObjectStore(MemoryStore())


async def test_a_document_that_would_fill_the_memory_is_not_read(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectstore, "MAX_DOCUMENT_BYTES", 4)
    await store.put_new("small", b"four")
    await store.put_new("large", b"fiver")
    assert (await store.get("small"))[0] == b"four"
    with pytest.raises(StoreError, match="large has 5 bytes"):
        await store.get("large")


async def test_what_is_gone_may_be_deleted(store: ObjectStore) -> None:
    await store.put_new("tiny/a", b"")
    for _ in range(2):
        await store.delete("tiny/a")
    assert [entry async for entry in store.entries("")] == []
