"""Single steps, where a whole run would say too little."""

from pathlib import Path
from typing import Any

import pytest
from datatrove.data import Document
from tokenizers import Tokenizer, models, pre_tokenizers

from trainer.data.wrong import WrongData
from trainer.preparing import decontamination, tokenizer_folder
from trainer.preparing.documents import stored, writer
from trainer.preparing.filter_settings import Decontamination, Language, Pii, Url
from trainer.preparing.language_filter import KeepLanguages, check_languages
from trainer.preparing.pii import Scrub
from trainer.preparing.sound import is_binary
from trainer.preparing.tokenising import encoder
from trainer.preparing.url_filter import UrlFilter
from trainer.preparing.words import Words, words_of


def _document(text: str = "a", **metadata: Any) -> Document:
    return Document(text, "web/a:1", metadata=metadata)


@pytest.mark.parametrize(
    ("text", "binary"),
    [
        ("A line.\r\nAnd\tanother\x0c\x85", False),
        ("a\x00b", True),
        ("\ufffd" * 3 + "a" * 100, True),
        ("\x1b[0m" + "a" * 1000, False),
        ("\x1b\x07\x08" * 4 + "a" * 1000, True),
    ],
)
def test_binary_text_is_told_from_text(text: str, binary: bool) -> None:
    assert is_binary(text) == binary


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        (None, True),
        ("https://good.org/page", True),
        ("https://www.blocked.co.uk/page", (False, "domain")),
        ("https://forum.half.org/", (False, "subdomain")),
        ("https://half.org/", True),
        ("https://good.org/one-page", (False, "url")),
        ("https://good.org/casino/1", (False, "hard_blacklisted")),
    ],
)
def test_urls_are_blocked_by_lists_without_the_network(tmp_path: Path, url: str | None, kept: object) -> None:
    lists = {
        "domains": "# x\nblocked.co.uk\nforum.half.org\n",
        "urls": "https://good.org/one-page",
        "banned_words": "casino\n",
    }
    for name, content in lists.items():
        (tmp_path / name).write_text(content)
    settings = Url(**{name: tmp_path / name for name in lists})
    found = UrlFilter(settings, writer(tmp_path)).filter(_document(**({"url": url} if url else {})))
    assert found == kept


def test_languages_are_found_by_the_model_of_the_package(tmp_path: Path) -> None:
    keep = KeepLanguages(Language(keep=("de", "fr")), writer(tmp_path))
    german, english = _document("Das ist ein ganz einfacher Satz."), _document("This is a very simple sentence.")
    assert keep.filter(german) is True
    assert keep.filter(english) == (False, "other_language")
    assert (german.metadata["language"], english.metadata["language"]) == ("de", "en")
    with pytest.raises(WrongData, match="does not know 'eng'; it has 176"):
        check_languages(Language(keep=("eng",)))
    (tmp_path / "model.bin").write_bytes(b"no model")
    with pytest.raises(WrongData, match=r"language\.model = .*model\.bin: it is no model of fastText"):
        check_languages(Language(model=tmp_path / "model.bin"))


def test_addresses_are_replaced_as_the_recipe_says() -> None:
    scrub = Scrub(Pii(remove_emails=False, only_remove_public_ips=False, ip_replacement="0.0.0.0"))
    (found,) = scrub.run([_document("a@b.org 10.0.0.1 8.8.8.8 1.2.3")])
    assert (found.text, found.metadata["pii"]) == ("a@b.org 0.0.0.0 0.0.0.0 1.2.3", {"ips": 2})


def test_a_word_group_over_question_and_answer_is_in_the_index(tmp_path: Path) -> None:
    file = tmp_path / "test.jsonl"
    file.write_text('{"messages": [{"role": "user", "content": "one two three"}, {"content": "four five"}]}\n')
    settings = Decontamination(data=(file,), n_grams=4)
    assert decontamination.build_index(settings, tmp_path / "index", Words("en")) == {
        "texts": 1,
        "groups": 3,  # with the role: user one two three, one two three four, two three four five
        "too_short": 0,
    }
    with pytest.raises(WrongData, match="no text of the sets has 12 words"):
        decontamination.build_index(Decontamination(data=(file,)), tmp_path / "other", Words("en"))


@pytest.mark.parametrize(("language", "said"), [("xq", "xq"), ("ja", "needs a package more")])
def test_a_language_without_rules_is_refused(language: str, said: str) -> None:
    with pytest.raises(WrongData, match=f"words = {language}: .*{said}"):
        words_of(language)


def test_documents_come_back_as_they_were_written(tmp_path: Path) -> None:
    documents = [_document("a\u2028b\n", source="web"), _document("", source="web")]
    with writer(tmp_path) as to:
        for document in documents:
            to.write(document, rank=3)
    assert list(stored(tmp_path, 3)) == documents
    assert not list(stored(tmp_path, 4))


def _tokenizer(folder: Path, ids: dict[str, int], settings: str = "{}") -> Path:
    tokenizer: Any = Tokenizer(models.WordLevel(ids, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=9)
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(settings)
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_a_tokenizer_that_is_taken_neither_cuts_nor_fills_up(tmp_path: Path) -> None:
    source = _tokenizer(tmp_path / "own", {"a": 0, "b": 1, "end": 2, "begin": 3}, '{"eos_token": {"content": "end"}}')
    tokenizer_folder.take(source, tmp_path / "taken")
    assert {path.name for path in (tmp_path / "taken").iterdir()} == {"tokenizer.json", "tokenizer_config.json"}
    ids = tokenizer_folder.vocabulary(tmp_path / "taken", None, "begin")
    assert (ids.size, ids.eos_id, ids.bos_id, ids.dtype) == (4, 2, 3, "uint16")
    assert encoder(tmp_path / "taken", ids).encode("a b a b").ids == [3, 0, 1, 0, 1, 2]


def test_a_vocabulary_with_gaps_has_room_for_its_largest_id(tmp_path: Path) -> None:
    ids = tokenizer_folder.vocabulary(_tokenizer(tmp_path / "own", {"a": 0, "end": 70_000}), "end", None)
    assert (ids.size, ids.dtype) == (70_001, "uint32")


@pytest.mark.parametrize(
    ("eos", "bos", "said"),
    [
        (None, None, "eos_token: the tokenizer does not say"),
        ("none", None, "eos_token = none: the tokenizer has no such token"),
        ("a", "none", "bos_token = none: the tokenizer has no such token"),
    ],
)
def test_special_tokens_must_be_tokens(tmp_path: Path, eos: str | None, bos: str | None, said: str) -> None:
    with pytest.raises(WrongData, match=said):
        tokenizer_folder.vocabulary(_tokenizer(tmp_path / "own", {"a": 0}), eos, bos)


def test_a_folder_without_a_fast_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongData, match=r"holds no tokenizer\.json"):
        tokenizer_folder.take(tmp_path, tmp_path / "taken")
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(WrongData, match=r"tokenizer\.json: the tokenizer cannot be read"):
        tokenizer_folder.load(tmp_path)
