"""Readable data becomes shards: a source is a file, a document ends with the end token, and nowhere else."""

import json
from pathlib import Path

import pytest

from tests.robustness.pretraining import texts
from trainer.data.shards import open_shards
from trainer.data.wrong import WrongData
from trainer.token_lengths import tokenizer_of_folder
from trainer.tokenized import sources_of, tokenize

LINES = {"code": ["a<|end|>b", "def f(): ..."], "prose": ["high tide", "", "low tide"]}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, found in LINES.items():
        (folder / f"{name}.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in found))
    return folder


@pytest.mark.filterwarnings("default")
def test_documents_of_each_source_are_there_whole(data: Path, tmp_path: Path) -> None:
    """An end token that somebody wrote into a text is a text, and ends nothing."""
    words = texts.make_tokenizer(data, tmp_path / "words", 300)
    tokenizer = tokenizer_of_folder(words)
    sources = sources_of(data, {"code.jsonl": 3.0, "prose.jsonl": 1.0})
    report = tokenize(sources, None, tokenizer, words, tmp_path / "shards")
    assert (report.kept, dict(report.dropped)) == (4, {"the text is empty or null": 1})
    shards = open_shards(tmp_path / "shards")
    shards.verify()
    assert [(source.name, source.weight) for source in shards.manifest.sources] == [
        ("code.jsonl", 3.0),
        ("prose.jsonl", 1.0),
    ]
    for source in shards.manifest.sources:
        wanted = [text for text in LINES[Path(source.name).stem] if text]
        (file,) = shards.files(source)
        ids = file.ids.tolist()
        assert ids.count(tokenizer.eos_token_id) == file.file.documents == len(wanted)
        assert [tokenizer.decode(file.document(number)[:-1]) for number in range(len(wanted))] == wanted
    assert tokenize({}, None, tokenizer, words, tmp_path / "shards") == report  # it is there already


def test_every_entry_of_a_folder_has_a_weight_or_all_is_one_source(data: Path) -> None:
    (data / "README.md").write_text("no data")
    (data / ".hidden").mkdir()
    assert sources_of(data, None) == {"data": (data, 1.0)}
    assert list(sources_of(data, {"prose.jsonl": 1.0, "code.jsonl": 2.0})) == ["code.jsonl", "prose.jsonl"]
    for weights, told in (
        ({"prose.jsonl": 1.0}, r"code\.jsonl in data has no weight"),
        ({"prose.jsonl": 1.0, "web": 1.0}, r"data has no entry 'web': it has code\.jsonl, prose\.jsonl"),
    ):
        with pytest.raises(WrongData, match=told):
            sources_of(data, weights)
    with pytest.raises(WrongData, match="it is one source: leave weights out"):
        sources_of(data / "code.jsonl", {"code": 1.0})
