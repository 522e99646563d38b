"""What differs between two versions."""

from services.shared.manifests import Golden
from services.shared.version_changes import Change, changes
from tests.unit.worker.models import manifest_of

OLD = manifest_of({"config.json": b"{}", "model.safetensors": b"old"}, model="tiny")


def test_a_version_does_not_differ_from_itself() -> None:
    assert changes(OLD, OLD, {}) == []


def test_other_golden_prompts_are_told_apart_though_they_are_as_many() -> None:
    first, second = (
        OLD.model_copy(update={"golden": (Golden(prompt_token_ids=(1,), expected_token_ids=(token,)),)})
        for token in (2, 3)
    )
    (found,) = changes(first, second, {})
    assert found.what == "golden prompts"
    assert found.before.startswith("1, ")
    assert found.before != found.after


def test_facts_settings_and_files_are_compared() -> None:
    new = manifest_of({"model.safetensors": b"newer", "vocab.json": b"{}"}, model="tiny").model_copy(
        update={"context_tokens": OLD.context_tokens + 1, "evaluation": {"held_out_loss": 2.5}}
    )
    settings = {"config.json": ({"rope_theta": 1e4, "same": 1}, {"rope_theta": 1e5, "same": 1, "added": [2]})}
    found = changes(OLD, new, settings)
    assert found[:4] == [
        Change("context_tokens", OLD.context_tokens, OLD.context_tokens + 1),
        Change("evaluation: held_out_loss", None, 2.5),
        Change("config.json: added", None, [2]),
        Change("config.json: rope_theta", 1e4, 1e5),
    ]
    gone, weights, added = found[4:]
    assert (gone.what, gone.after) == ("config.json", None)
    assert (weights.before[:8], weights.after[:8]) == ("3 bytes,", "5 bytes,")
    assert (added.what, added.before) == ("vocab.json", None)
