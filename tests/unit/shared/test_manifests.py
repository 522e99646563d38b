import json
from typing import Any

import pytest

from services.shared.manifests import (
    File,
    Manifest,
    Measured,
    Speculates,
    Training,
    WrongManifest,
    digest_of_files,
    make,
    parse,
)

WEIGHTS = File(name="model.safetensors", size=3, sha256="a" * 64)


def manifest(**changed: Any) -> Manifest:
    fields: dict[str, Any] = {
        "model": "tiny",
        "created": 1,
        "architecture": "Simulated",
        "context_tokens": 128,
        "vocab_size": 16,
        "files": (WEIGHTS,),
        "weights_sha256": "b" * 64,
        "tokenizer_sha256": "c" * 64,
        "source": "a test",
    }
    return make(**{**fields, **changed})


def test_a_manifest_survives_its_json() -> None:
    made = manifest(evaluation={"loss": 1.25})
    assert parse(made.to_json(), expected_version=made.version) == made


def test_what_newer_releases_know_leaves_the_versions_of_older_ones_as_they_are() -> None:
    made = manifest(evaluation={"loss": 1.25})
    assert made.version == "da5c81ac36d25f58fac4e3960cc58fea6e6962d6fd146f0873d03159ea5fb4b7"
    assert b"training" not in made.to_json().replace(b"training_job", b"")


def test_what_a_version_was_trained_on_and_how_it_compares_survive_its_json() -> None:
    training = Training(data_sha256="d" * 64, learnt=9, held_out=1, cut=2, dropped=0)
    made = manifest(training=training, evaluation={"held_out_loss": {"value": 1.5, "parent": 2.5}})
    again = parse(made.to_json(), expected_version=made.version)
    assert again.training == training
    assert again.evaluation == {"held_out_loss": Measured(value=1.5, parent=2.5)}


def test_a_speculator_says_what_it_drafts_for_and_nothing_else_does() -> None:
    drafts = Speculates(target=f"tide@{'e' * 64}", vocab_size=16, tokenizer_sha256="c" * 64, method="eagle", tokens=2)
    made = manifest(kind="speculator", speculates=drafts)
    assert parse(made.to_json(), expected_version=made.version).speculates == drafts
    assert drafts.model == "tide"
    for wrong in ({"kind": "speculator"}, {"speculates": drafts}):
        with pytest.raises(ValueError, match="a speculator must say what it drafts for"):
            manifest(**wrong)


def test_the_recipe_is_part_of_a_version_and_the_publisher_is_not() -> None:
    training = Training(data_sha256="d" * 64, learnt=9, held_out=1, cut=2, dropped=0)
    plain, told = manifest(training=training), manifest(training=training, publisher="Ada")
    assert (plain.version, b"publisher" in plain.to_json(), b"recipe" in plain.to_json()) == (
        told.version,
        False,
        False,
    )
    assert parse(told.to_json(), expected_version=told.version).publisher == "Ada"
    recipe = {"method": "lora", "learning_rate": 1e-05, "lora": {"r": 16}}
    made = manifest(training=training.model_copy(update={"recipe": recipe}))
    assert made.version != plain.version
    assert parse(made.to_json(), expected_version=made.version).training == made.training
    with pytest.raises(ValueError, match="publisher"):
        manifest(publisher="two\nlines")


@pytest.mark.parametrize("figure", [float("nan"), float("inf")])
def test_a_figure_that_json_cannot_hold_is_refused_before_it_is_published(figure: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        manifest(evaluation={"loss": figure})


def test_the_version_is_the_content_and_not_the_time() -> None:
    assert manifest(created=1).version == manifest(created=2).version
    assert manifest().version != manifest(vocab_size=17).version


@pytest.mark.parametrize("key", ["model", "files", "weights_sha256", "source"])
def test_changed_content_no_longer_matches_its_version(key: str) -> None:
    made = manifest()
    document = json.loads(made.to_json())
    document[key] = (
        [{**document[key][0], "size": 4}] if key == "files" else ("d" * 60) if key in ("model", "source") else "d" * 64
    )
    with pytest.raises(WrongManifest, match="its digest is"):
        parse(json.dumps(document).encode(), expected_version=made.version)


def test_another_version_than_asked_for_is_refused() -> None:
    with pytest.raises(WrongManifest, match=r"the manifest of .* is wrong"):
        parse(manifest().to_json(), expected_version="f" * 64)


@pytest.mark.parametrize("document", [b"", b"{}", b"[]", b"\xff", b'{"schema_version": 2}'])
def test_what_is_no_manifest_is_refused(document: bytes) -> None:
    with pytest.raises(WrongManifest, match="does not parse"):
        parse(document, expected_version="f" * 64)


NO_NAMES = ["../passwd", "a/../b", "a//b", "/a", "a/", "a/.b", "a/b/c/d/e", "a\\b", ".hidden", "", "a" * 129, "x\n"]


@pytest.mark.parametrize("name", [*NO_NAMES, "a\x00b"])
def test_file_names_cannot_leave_their_folder(name: str) -> None:
    with pytest.raises(ValueError, match="file name"):
        File(name=name, size=0, sha256="a" * 64)


def test_the_digest_of_files_ignores_order_and_tells_contents() -> None:
    other = File(name="z.safetensors", size=3, sha256="b" * 64)
    assert digest_of_files((WEIGHTS, other)) == digest_of_files((other, WEIGHTS))
    assert digest_of_files((WEIGHTS,)) != digest_of_files((WEIGHTS.model_copy(update={"sha256": "b" * 64}),))
