"""What differs between two versions of the registry: facts, settings and files. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from services.shared.manifests import File, Manifest, digest_of

SETTINGS = ("config.json", "generation_config.json")
"""Files whose values are compared one by one."""

_FACTS = (
    "model",
    "kind",
    "base",
    "architecture",
    "context_tokens",
    "vocab_size",
    "source",
    "parent",
    "training_job",
    "publisher",
    "signer",
)


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    Attributes:
        what: A fact of the manifest, a file, or a key of a file (`config.json: rope_theta`).
        before: Its value in the first version; None: it is not there.
        after: Its value in the second version; None: it is not there.
    """

    what: str
    before: Any
    after: Any


def changes(
    old: Manifest, new: Manifest, settings: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]
) -> list[Change]:
    """Compares two versions.

    Args:
        old: The first version.
        new: The second version.
        settings: The content of files of SETTINGS that both versions have, in both.

    Returns:
        The differences: facts, then settings, then files.
    """
    return [*_facts(old, new), *_settings(settings), *_files(old, new)]


def _facts(old: Manifest, new: Manifest) -> Iterator[Change]:
    for name in _FACTS:
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            yield Change(name, before, after)
    figures, changed = (manifest.model_dump(mode="json")["evaluation"] for manifest in (old, new))
    for name, before, after in _differing(figures, changed):
        yield Change(f"evaluation: {name}", before, after)
    learnt, other = (manifest.model_dump(mode="json").get("training") or {} for manifest in (old, new))
    recipe, changed_recipe = learnt.pop("recipe", None) or {}, other.pop("recipe", None) or {}
    for name, before, after in _differing(learnt, other):
        yield Change(f"training: {name}", before, after)
    for name, before, after in _differing(recipe, changed_recipe):
        yield Change(f"recipe: {name}", before, after)
    drafts, others = (manifest.model_dump(mode="json").get("speculates") or {} for manifest in (old, new))
    for name, before, after in _differing(drafts, others):
        yield Change(f"speculates: {name}", before, after)
    if old.golden != new.golden:
        yield Change("golden prompts", _prompts(old), _prompts(new))


def _settings(settings: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Iterator[Change]:
    for file, (old, new) in settings.items():
        for name, before, after in _differing(old, new):
            yield Change(f"{file}: {name}", before, after)


def _files(old: Manifest, new: Manifest) -> Iterator[Change]:
    before, after = ({file.name: _described(file) for file in manifest.files} for manifest in (old, new))
    for name, first, second in _differing(before, after):
        yield Change(name, first, second)


def _prompts(manifest: Manifest) -> str:
    """How many, and which: two versions often have as many as each other."""
    return f"{len(manifest.golden)}, {digest_of([golden.model_dump(mode='json') for golden in manifest.golden])[:12]}"


def _described(file: File) -> str:
    return f"{file.size} bytes, {file.sha256[:12]}"


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before != after:
            yield name, before, after
