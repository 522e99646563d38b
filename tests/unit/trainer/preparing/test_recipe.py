"""Prepare recipes: wrong keys and values are named, and so are files that are not there."""

from pathlib import Path

import pytest
import yaml

from services.shared.settings import WrongSettings
from trainer.preparing.recipe import PrepareRecipe
from trainer.preparing.recipe_file import digest, load, work_folder
from trainer.preparing.starter import starter

LEAST = {"sources": {"web": {"path": "web"}}, "output": "corpus", "tokenizer": "assistant@stable"}


def _file(folder: Path, **changes: object) -> Path:
    file = folder / "prepare.yaml"
    file.write_text(yaml.safe_dump({key: value for key, value in (LEAST | changes).items() if value is not None}))
    return file


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": {}}, "source"),
        ({"sources": {}}, "sources"),
        ({"sources": {"Web": {"path": "web"}}}, "sources.Web"),
        ({"sources": {"web": {"path": "web", "weight": 0}}}, r"sources.web.weight = 0"),
        ({"tokenizer": None}, "one of tokenizer and train_tokenizer"),
        ({"train_tokenizer": {}}, "one of tokenizer and train_tokenizer"),
        ({"tokenizer": None, "train_tokenizer": {"vocab_size": 256}}, "train_tokenizer.vocab_size = 256"),
        ({"tokenizer": None, "train_tokenizer": {"special_tokens": ["a"]}}, "eos_token = <|endoftext|> is none of"),
        ({"tokenizer": None, "train_tokenizer": {"special_tokens": ["a", "a"]}}, "each is there once"),
        ({"output": "s3://bucket/corpus"}, "work: an output in a bucket needs a folder"),
        ({"url": {}}, "nothing would be blocked"),
        ({"url": {"domains": "none.txt"}}, r"url.domains = .*none.txt: there is no such file"),
        ({"language": {"model": "none.bin"}}, r"language.model = .*none.bin: there is no such file"),
        ({"decontaminate": {"data": ["none.jsonl"]}}, r"decontaminate.data = .*none.jsonl: there is no such file"),
        ({"words": "de", "gopher_quality": {}}, "gopher_quality.stop_words: only those of en are known"),
        ({"executor": "spark"}, "executor = 'spark'"),
        ({"executor_options": {"time": "1:00"}}, "executor_options are for executor: slurm or ray"),
        ({"gopher_repetition": {"top_n_grams": {"2": 2}}}, "gopher_repetition.top_n_grams"),
    ],
)
def test_a_wrong_recipe_is_refused(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(WrongSettings, match=said):
        load(_file(tmp_path, **changes))


def test_paths_start_at_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "blocked.txt").touch()
    (tmp_path / "own").mkdir()
    recipe = load(_file(tmp_path, url={"domains": "blocked.txt"}, tokenizer="own"), ["tasks=3"])
    assert recipe.url
    assert (recipe.sources["web"].path, recipe.url.domains) == (tmp_path / "web", tmp_path / "blocked.txt")
    assert (recipe.output, work_folder(recipe)) == (tmp_path / "corpus", tmp_path / "corpus.work")
    assert (recipe.tokenizer, recipe.tasks) == (str(tmp_path / "own"), 3)
    assert load(_file(tmp_path)).tokenizer == "assistant@stable"


def test_the_digest_is_that_of_what_decides_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "blocked.txt").write_text("a.com\n")
    recipe = load(_file(tmp_path, url={"domains": "blocked.txt"}))
    same = recipe.model_copy(update={"workers": 8, "executor": "slurm", "output": tmp_path / "other"})
    assert digest(same) == digest(recipe)
    assert digest(recipe.model_copy(update={"seed": 1})) != digest(recipe)
    before = digest(recipe)
    (tmp_path / "blocked.txt").write_text("b.com\n")
    assert digest(recipe) != before


def test_the_recipe_to_start_from_explains_every_key_and_can_be_read(tmp_path: Path) -> None:
    text = starter()
    for name in PrepareRecipe.model_fields:
        assert f"\n{name}:" in text or f"\n#{name}:" in text
    file = tmp_path / "prepare.yaml"
    file.write_text(text)
    recipe = load(file)
    assert recipe.minhash_dedup
    assert recipe.train_tokenizer


@pytest.mark.parametrize("part", ["language", "c4", "decontaminate"])
def test_its_parts_are_right_when_the_hash_is_taken_away(part: str) -> None:
    lines = starter().split("\n")
    first = lines.index(f"#{part}:")
    last = next(place for place in range(first + 1, len(lines)) if not lines[place].startswith("#  "))
    whole = [*lines[:first], *(line[1:] for line in lines[first:last]), *lines[last:]]
    assert getattr(PrepareRecipe.model_validate(yaml.safe_load("\n".join(whole))), part) is not None


def test_the_example_can_be_read() -> None:
    assert set(load(Path("trainer/recipes/preparing/web_and_books.yaml")).sources) == {"web", "books"}
