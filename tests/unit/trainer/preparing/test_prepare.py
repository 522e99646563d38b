"""From raw text with planted faults to shards: each fault is found, counted, and nothing else is lost."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.unit.trainer.preparing import planted
from trainer.data.shards import Shards, open_shards
from trainer.data.wrong import WrongData
from trainer.preparing import tokenizer_folder
from trainer.preparing.prepare import FetchTokenizer, Preparing, World
from trainer.preparing.recipe_file import load
from trainer.preparing.report import Amount, Preparation


class Stopped(Exception):
    """Somebody stopped the run."""


async def _no_registry(model: str, folder: Path) -> None:
    raise AssertionError(f"{model} is asked for")


def _prepare(
    recipe: Path,
    *changes: str,
    told: Callable[[str], None] = lambda _: None,
    fetch_tokenizer: FetchTokenizer = _no_registry,
) -> Preparation:
    return Preparing(load(recipe, changes), World(fetch_tokenizer, _never_sleep, told)).make()


def _never_sleep(seconds: float) -> None:
    raise AssertionError("a local stage is finished when it returns")


@dataclass(frozen=True)
class Prepared:
    folder: Path
    recipe: Path
    report: Preparation

    @property
    def shards(self) -> Shards:
        return open_shards(self.folder / "corpus")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("prepared")
    recipe = planted.write(folder)
    return Prepared(folder, recipe, _prepare(recipe))


def test_every_planted_fault_is_found_and_counted(prepared: Prepared) -> None:
    found = {
        (drop.step, drop.reason): (drop.documents, [example.document for example in drop.examples])
        for drop in prepared.report.dropped
    }
    assert found == {
        ("sound", "binary"): (1, ["web/b.jsonl:9"]),
        ("sound", "empty"): (1, ["web/b.jsonl:10"]),
        ("sound", "unreadable"): (2, ["web/b.jsonl:17", "web/b.jsonl:18"]),
        ("url", "domain"): (1, ["web/b.jsonl:7"]),
        ("language", "other_language"): (1, ["web/b.jsonl:8"]),
        ("gopher_repetition", "top_2_gram"): (1, ["web/b.jsonl:12"]),
        ("gopher_quality", "gopher_short_doc"): (1, ["web/b.jsonl:11"]),
        ("c4", "lorem_ipsum"): (1, ["web/b.jsonl:13"]),
        ("decontaminate", "contaminated"): (1, ["web/b.jsonl:14"]),
        ("exact_dedup", "exact_dedup"): (2, ["web/b.jsonl:5", "books/two.txt:1"]),
        ("minhash_dedup", "minhash_dedup"): (1, ["web/b.jsonl:6"]),
    }
    assert prepared.report.replaced == {"emails": 2, "ips": 1}
    assert prepared.report.decontamination == {"texts": 2, "groups": 21, "too_short": 1}


def test_the_counts_add_up_to_what_is_in_the_files(prepared: Prepared) -> None:
    report, sources = prepared.report, {source.name: source for source in prepared.report.sources}
    records = sum(len(records) for records in planted.documents().values()) + 1  # and the line that was cut
    assert report.read.documents == records + 2
    assert report.kept.documents == 15 == report.read.documents - report.dropped_documents
    assert (sources["web"].read.documents, sources["web"].kept.documents) == (records, 14)
    assert (sources["books"].read.documents, sources["books"].kept.documents) == (2, 1)
    dropped = sum(drop.tokens for drop in report.dropped)
    assert report.read.tokens == dropped + report.cleaned_tokens + report.kept.tokens
    manifest = prepared.shards.manifest
    assert [Amount(documents=source.documents, tokens=source.tokens) for source in manifest.sources] == [
        source.kept for source in report.sources
    ]


def test_the_tokens_are_those_of_the_documents_that_were_kept(prepared: Prepared) -> None:
    shards = prepared.shards
    shards.verify()
    manifest = shards.manifest
    assert [(source.name, source.weight) for source in manifest.sources] == [("web", 2.0), ("books", 1.0)]
    assert (manifest.vocab_size, manifest.dtype, manifest.eos_id, manifest.bos_id) == (400, "uint16", 0, None)
    tokenizer = tokenizer_folder.load(shards.tokenizer)
    texts = []
    for source in manifest.sources:
        for file in shards.files(source):
            for number in range(file.file.documents):
                ids = file.document(number).tolist()
                assert ids.index(manifest.eos_id) == len(ids) - 1, "nothing in a text is a special token"
                texts.append(tokenizer.decode(ids[:-1]))
    wanted = [
        *(record["text"] for record in planted.documents()["web/a.jsonl"]),
        *(planted.prose(f"more-{number}") for number in range(4)),
        planted.prose("pii")
        + f"\nWrite to email@example.com or email@example.com, from 192.0.2.1 and not from {planted.PRIVATE_IP}.",
        planted.prose("marker") + f"\nThe word {planted.MARKER} ends nothing here.",
        planted.prose("book"),
    ]
    assert texts == wanted


def test_transformers_reads_the_tokenizer(prepared: Prepared) -> None:
    from trainer.token_lengths import tokenizer_of_folder

    tokenizer = tokenizer_of_folder(prepared.shards.tokenizer)
    assert (tokenizer.eos_token, tokenizer.eos_token_id, len(tokenizer)) == (planted.MARKER, 0, 400)
    assert tokenizer.encode("The keeper.") == tokenizer_folder.load(prepared.shards.tokenizer).encode("The keeper.").ids


def test_a_run_that_is_stopped_again_and_again_ends_with_the_same_bytes(prepared: Prepared, tmp_path: Path) -> None:
    recipe = planted.write(tmp_path)
    marks: dict[Path, int] = {}
    begun: list[str] = []

    def stop_at(number: int) -> Callable[[str], None]:
        told = iter(range(1_000))

        def tell(stage: str) -> None:
            if next(told) == number:
                raise Stopped(stage)
            begun.append(stage)

        return tell

    work = tmp_path / "corpus.work"
    for _ in range(100):
        try:
            report = _prepare(recipe, told=stop_at(1))
            break
        except Stopped:
            _tear(work)
            now = {path: path.stat().st_mtime_ns for path in work.glob("logs/*/completions/*")}
            assert {path: now.get(path) for path in marks} == marks, "what is finished is not done again"
            marks = now
    else:
        raise AssertionError("it does not come to an end")
    assert sorted(begun) == sorted([*set(begun), "filter"]), "only the stage that was torn was begun again"
    assert report == prepared.report
    assert dict(_contents(tmp_path / "corpus")) == dict(_contents(prepared.folder / "corpus"))


def _tear(work: Path) -> None:
    """What a kill in the middle of a task leaves, once: half a file, and no mark that it is whole."""
    file, mark = work / "filtered" / "00001.jsonl", work / "logs" / "filter" / "completions" / "00001"
    if mark.exists() and not (work / "torn").exists():
        (work / "torn").touch()
        mark.unlink()
        file.write_bytes(file.read_bytes()[:1000])


def _contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()


def test_a_run_that_is_finished_does_nothing_again(prepared: Prepared) -> None:
    def tell(stage: str) -> None:
        raise AssertionError(f"{stage} is done again")

    assert _prepare(prepared.recipe, told=tell) == prepared.report


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["seed=7"], "the folder holds the work of another recipe"),
        (["work=other"], "the folder is not empty, and holds nothing of this run"),
    ],
)
def test_another_recipe_does_not_mix_with_what_is_there(prepared: Prepared, changes: list[str], said: str) -> None:
    with pytest.raises(WrongData, match=said):
        _prepare(prepared.recipe, *changes)


def test_a_source_that_changed_meanwhile_is_noticed(tmp_path: Path) -> None:
    recipe = planted.write(tmp_path)

    def stop(stage: str) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        _prepare(recipe, told=stop)
    with (tmp_path / "books" / "one.txt").open("a") as file:
        file.write("more")
    with pytest.raises(WrongData, match=r"books/one\.txt: the file has changed since the run began"):
        _prepare(recipe)


def test_a_run_of_which_nothing_is_left_says_so(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("Too short.")
    recipe = _small_recipe(tmp_path, "gopher_quality: {}")
    with pytest.raises(WrongData, match=r"no document is left of 1: see .*corpus\.work/report\.json"):
        _prepare(recipe, fetch_tokenizer=_words)


def test_a_tokenizer_of_the_registry_is_fetched_once(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("a b a")
    recipe = _small_recipe(tmp_path, "bos_token: <begin>")

    def stop(stage: str) -> None:
        if stage == "shards":
            raise Stopped

    with pytest.raises(Stopped):
        _prepare(recipe, told=stop, fetch_tokenizer=_words)
    _prepare(recipe)  # the alias may have moved meanwhile: the run keeps to what it has
    shards = open_shards(tmp_path / "corpus")
    assert (shards.manifest.bos_id, shards.manifest.eos_id) == (1, 0)
    (file,) = shards.files(shards.manifest.sources[0])
    assert file.ids.tolist() == [1, 2, 3, 2, 0]


def _small_recipe(folder: Path, more: str) -> Path:
    recipe = folder / "prepare.yaml"
    recipe.write_text(
        "{sources: {one: {path: one.txt}}, output: corpus, tokenizer: words@stable, eos_token: <end>,"
        f" exact_dedup: false, {more}}}"
    )
    return recipe


async def _words(model: str, folder: Path) -> None:
    assert model == "words@stable"
    _write_words(folder)


def _write_words(folder: Path) -> None:
    tokenizer: Any = Tokenizer(models.WordLevel({"<end>": 0, "<begin>": 1, "a": 2, "b": 3}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
