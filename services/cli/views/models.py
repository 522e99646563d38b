"""The versions of the model registry as tables and documents."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal
from rich.table import Table

from services.cli.views.output import build_table
from services.shared.adapters import short
from services.shared.manifests import Manifest

if TYPE_CHECKING:
    from trainer.prune import Folder

_COLUMNS = ("model", "version", "aliases", "architecture", "size", "source")


def version_table(versions: list[tuple[Manifest, list[str]]]) -> Table:
    """One row for each version with the aliases that point to it."""
    return build_table(_COLUMNS, [_version_row(manifest, aliases) for manifest, aliases in versions])


def version_document(manifest: Manifest, aliases: list[str]) -> dict[str, Any]:
    """A version as JSON."""
    facts = manifest.model_dump(
        mode="json", include={"model", "version", "kind", "base", "created", "architecture", "context_tokens", "source"}
    )
    return {**facts, "size": _size(manifest), "aliases": aliases}


def prune_table(folders: "list[Folder]") -> Table:
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
        f"adapter for {short(manifest.base)}" if manifest.base else manifest.architecture,
        decimal(_size(manifest)),
        manifest.source,
    )


def _size(manifest: Manifest) -> int:
    return sum(file.size for file in manifest.files)
