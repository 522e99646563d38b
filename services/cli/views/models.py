"""The versions of the model registry as tables and documents."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.filesize import decimal
from rich.table import Table

from services.cli.views.output import build_table, titled
from services.shared.adapters import short
from services.shared.manifests import Manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.shared.registry import Reference
    from services.shared.version_changes import Change
    from trainer.garbage import Folder

_COLUMNS = ("model", "version", "aliases", "architecture", "size", "source")


def aliases_of(manifest: Manifest, aliases: "Mapping[Reference, str]") -> list[str]:
    """Names of the aliases that point to a version, sorted."""
    return sorted(
        reference.which
        for reference, version in aliases.items()
        if (reference.model, version) == (manifest.model, manifest.version)
    )


def version_table(versions: list[tuple[Manifest, list[str]]]) -> Table:
    """One row for each version with the aliases that point to it."""
    return build_table(_COLUMNS, [_version_row(manifest, aliases) for manifest, aliases in versions])


def version_document(manifest: Manifest, aliases: list[str]) -> dict[str, Any]:
    """A version as JSON."""
    facts = manifest.model_dump(
        mode="json", include={"model", "version", "kind", "base", "created", "architecture", "context_tokens", "source"}
    )
    return {**facts, "size": _size(manifest), "aliases": aliases}


def whole_version(manifest: Manifest, aliases: list[str]) -> RenderableType:
    """All that the registry knows of a version: its facts, and a row for each file."""
    told = _facts(manifest, aliases) | {"size": decimal(_size(manifest))}
    facts = [(name.replace("_", " "), _shown(value)) for name, value in told.items() if value]
    files = [(file.name, decimal(file.size), file.sha256) for file in manifest.files]
    return titled(
        [
            (f"{manifest.model}@{manifest.version}", build_table(("fact", "value"), facts)),
            ("files", build_table(("file", "size", "SHA-256"), files)),
        ]
    )


def whole_document(manifest: Manifest, aliases: list[str]) -> dict[str, Any]:
    """All that the registry knows of a version, as JSON."""
    files = [{"name": file.name, "size": file.size, "sha256": file.sha256} for file in manifest.files]
    own = {"model": manifest.model, "version": manifest.version}
    return own | _facts(manifest, aliases) | {"created": manifest.created, "files": files}


def change_table(changes: "list[Change]") -> Table:
    """One row for each difference of two versions."""
    rows = [(change.what, _shown(change.before), _shown(change.after)) for change in changes]
    return build_table(("what", "before", "after"), rows)


def garbage_table(folders: "list[Folder]") -> Table:
    """One row for each folder that is removed."""
    kinds = {True: "a version", False: "a publish that never ended"}
    rows = [
        (
            folder.model,
            folder.version[:12],
            decimal(folder.size),
            datetime.fromtimestamp(folder.written, UTC).date(),
            kinds[folder.is_whole],
        )
        for folder in folders
    ]
    return build_table(("model", "version", "size", "written", "is"), rows)


def _version_row(manifest: Manifest, aliases: list[str]) -> tuple[object, ...]:
    return (
        manifest.model,
        manifest.version[:12],
        ", ".join(aliases) or "-",
        _described(manifest),
        decimal(_size(manifest)),
        manifest.source,
    )


def _described(manifest: Manifest) -> str:
    if manifest.speculates:
        return f"{manifest.speculates.method} for {short(manifest.speculates.target)}"
    return f"adapter for {short(manifest.base)}" if manifest.base else manifest.architecture


def _facts(manifest: Manifest, aliases: list[str]) -> dict[str, Any]:
    return {
        "aliases": aliases,
        "kind": manifest.kind,
        "base": manifest.base,
        "speculates": manifest.speculates.model_dump() if manifest.speculates else None,
        "architecture": manifest.architecture,
        "context_tokens": manifest.context_tokens,
        "vocab_size": manifest.vocab_size,
        "size": _size(manifest),
        "source": manifest.source,
        "parent": manifest.parent,
        "training_job": manifest.training_job,
        "training": manifest.training.model_dump() if manifest.training else None,
        "evaluation": manifest.model_dump(mode="json")["evaluation"],
        "golden_prompts": len(manifest.golden),
        "report": [file.name for file in manifest.report],
        "publisher": manifest.publisher,
        "created": f"{datetime.fromtimestamp(manifest.created, UTC):%Y-%m-%d %H:%M} UTC",
        "signer": manifest.signer,
    }


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(part)}" for name, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _size(manifest: Manifest) -> int:
    return sum(file.size for file in manifest.files)
