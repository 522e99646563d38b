"""Shards: what was written is read, and what is torn, changed or incomplete is refused with the file's name."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.trainer.data.shard_folder import EOS, write_shards
from trainer.data.shard_manifest import MANIFEST
from trainer.data.shards import open_shards
from trainer.data.wrong import WrongData

WEB = ((1, 2, 3), (4,), ())
BOOKS = ((5, 6),)


@pytest.mark.parametrize(("vocab_size", "dtype"), [(256, "uint16"), (65_536, "uint16"), (65_537, "uint32")])
def test_documents_come_back_as_they_were_written(tmp_path: Path, vocab_size: int, dtype: str) -> None:
    folder = write_shards(
        tmp_path / "shards", {"web": (2.0, [WEB, BOOKS]), "books": (1.0, [BOOKS])}, vocab_size=vocab_size
    )
    shards = open_shards(folder)
    shards.verify()
    assert shards.manifest.dtype == dtype
    assert [(source.name, source.weight, source.tokens, source.documents) for source in shards.manifest.sources] == [
        ("web", 2.0, 10, 4),
        ("books", 1.0, 3, 1),
    ]
    web, more = shards.files(shards.manifest.sources[0])
    assert [web.document(number).tolist() for number in range(3)] == [[1, 2, 3, EOS], [4, EOS], [EOS]]
    assert more.ids.tolist() == [5, 6, EOS]
    with pytest.raises(IndexError):
        web.document(3)


def _cut(file: str, count: int) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        content = (folder / file).read_bytes()
        (folder / file).write_bytes(content[: len(content) - count])

    return cut


def _set(file: str, at: int, value: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = bytearray((folder / file).read_bytes())
        content[at] = value
        (folder / file).write_bytes(bytes(content))

    return change


def _manifest(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        document = json.loads((folder / MANIFEST).read_text())
        (folder / MANIFEST).write_text(json.dumps(document | changes))

    return change


def _renamed(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        document = json.loads((folder / MANIFEST).read_text())
        document["sources"][0]["files"][0]["name"] = name
        (folder / MANIFEST).write_text(json.dumps(document))

    return change


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / MANIFEST).unlink(), "there is no shards.json"),
        (_cut(MANIFEST, 3), "shards.json"),
        (_manifest(format=2), "format"),
        (_manifest(vocab_size=65_537), "does not fit uint16"),
        (_manifest(eos_id=256), "beyond vocab_size"),
        (_renamed("../web.ds"), "a name is letters"),
        (_renamed("/web.ds"), "a name is letters"),
        (lambda folder: (folder / "web/00000.ds").unlink(), "web/00000.ds: the file is missing"),
        (_cut("web/00000.ds", 1), "web/00000.ds: the file ends within a number"),
        (_cut("web/00000.ds", 2), "web/00000.ds: the file holds 6 numbers, and shards.json says 7"),
        (_cut("web/00000.ds.index", 8), "web/00000.ds.index: the file holds 2 numbers"),
        (lambda folder: (folder / "tokenizer/tokenizer.json").unlink(), "the tokenizer is missing"),
        (_set("tokenizer/tokenizer.json", 0, 65), "not the one that made the shards"),
    ],
)
def test_a_folder_that_is_not_whole_is_not_opened(tmp_path: Path, damage: Callable[[Path], None], said: str) -> None:
    folder = write_shards(tmp_path / "shards", {"web": (1.0, [WEB])})
    damage(folder)
    with pytest.raises(WrongData) as refused:
        open_shards(folder)
    assert said in str(refused.value)


def test_a_changed_number_is_found_by_verify(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards", {"web": (1.0, [WEB])})
    _set("web/00000.ds", 0, 9)(folder)
    with pytest.raises(WrongData, match=r"web/00000\.ds: the file is not the one that was written"):
        open_shards(folder).verify()


def test_an_index_that_does_not_reach_the_end_is_not_mapped(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards", {"web": (1.0, [WEB])})
    _set("web/00000.ds.index", 16, 6)(folder)
    shards = open_shards(folder)
    with pytest.raises(WrongData, match="the last document ends at 6, and there are 7 tokens"):
        shards.file(shards.manifest.sources[0].files[0])


@pytest.mark.parametrize(
    ("documents", "changes", "said"),
    [
        ([[1, 200]], {"vocab_size": 100}, "the id 200 is beyond vocab_size = 100"),
        ([[1, 2]], {"eos_id": 7}, "a document does not end with the end token"),
    ],
)
def test_ids_that_the_manifest_does_not_allow_are_found_by_verify(
    tmp_path: Path, documents: list[list[int]], changes: dict[str, object], said: str
) -> None:
    folder = write_shards(tmp_path / "shards", {"web": (1.0, [documents])})
    _manifest(**changes)(folder)
    with pytest.raises(WrongData, match=said):
        open_shards(folder).verify()
