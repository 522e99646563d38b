"""The model registry: versions and aliases in the object store (layout in manifests.py)."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from services.shared.manifests import MANIFEST, Manifest, parse
from services.shared.objectstore import Missing, ObjectStore

_VERSION = re.compile(r"[0-9a-f]{64}")
_REFERENCE = re.compile(r"(?P<model>[a-z0-9][a-z0-9._-]{0,62})(@(?P<which>[a-z0-9][a-z0-9._-]{0,63}))?")

_WORD = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

DEFAULT_ALIAS = "latest"
SHORTEST_BEGINNING = 4


class UnknownVersion(Exception):
    """The reference names nothing in the registry."""


@dataclass(frozen=True, slots=True)
class Reference:
    """`model`, `model@alias` or `model@version`."""

    model: str
    which: str = DEFAULT_ALIAS

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Raises ValueError for what is not a reference."""
        if not (match := _REFERENCE.fullmatch(text)):
            raise ValueError(f"{text!r} is not a model reference: model, model@alias or model@version")
        return cls(match["model"], match["which"] or DEFAULT_ALIAS)

    @property
    def is_version(self) -> bool:
        return bool(_VERSION.fullmatch(self.which))

    def __str__(self) -> str:
        return f"{self.model}@{self.which}"


class Registry:
    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def resolve(self, reference: Reference) -> Manifest:
        """The manifest that a reference names. Raises UnknownVersion, WrongManifest, StoreError."""
        version = reference.which if reference.is_version else await self.alias(reference)
        try:
            document, _ = await self._store.get(object_name(reference.model, version, MANIFEST))
        except Missing:
            raise UnknownVersion(f"{reference}: no such version in the registry") from None
        return parse(document, expected_version=version)

    async def alias(self, reference: Reference) -> str:
        """The version that an alias points to. Raises UnknownVersion."""
        return str((await self._alias_document(reference))["version"])

    async def _alias_document(self, reference: Reference) -> dict[str, Any]:
        try:
            document, _ = await self._store.get(_alias_name(reference))
        except Missing:
            raise UnknownVersion(f"{reference}: no such model or alias in the registry") from None
        return dict(json.loads(document))

    async def move_alias(self, reference: Reference, version: str) -> None:
        """Points an alias at a version. Raises Conflict when somebody moved it at the same time."""
        try:
            document, etag = await self._store.get(_alias_name(reference))
        except Missing:
            await self._store.put_new(_alias_name(reference), _alias(version, None))
        else:
            await self._store.put_if(_alias_name(reference), _alias(version, json.loads(document)), etag)

    async def previous(self, reference: Reference) -> str | None:
        """The version that an alias pointed to before it was last moved. Raises UnknownVersion."""
        before = (await self._alias_document(reference)).get("previous")
        return None if before is None else str(before)

    async def versions(self) -> AsyncIterator[Manifest]:
        """Every complete version of every model, in the order of their names."""
        async for name in self._store.list(""):
            model, _, rest = name.partition("/")
            version, _, file = rest.partition("/")
            if file == MANIFEST:
                yield await self.resolve(Reference(model, version))

    async def find(self, model: str, word: str) -> Manifest:
        """What a person means by an alias, a version, or the beginning of one. Raises UnknownVersion, WrongManifest."""
        if not _WORD.fullmatch(word):
            raise UnknownVersion(f"{word!r} is neither an alias nor a version")
        versions = [version async for version in self._versions_of(model) if version.startswith(word)]
        if len(versions) == 1 and len(word) >= SHORTEST_BEGINNING:
            return await self.resolve(Reference(model, versions[0]))
        if len(versions) > 1 and len(word) >= SHORTEST_BEGINNING:
            raise UnknownVersion(f"{model}@{word}: {len(versions)} versions begin so; give more of it")
        return await self.resolve(Reference(model, word))

    async def _versions_of(self, model: str) -> AsyncIterator[str]:
        async for name in self._store.list(f"{model}/"):
            version, _, file = name.removeprefix(f"{model}/").partition("/")
            if file == MANIFEST:
                yield version

    async def aliases(self) -> dict[Reference, str]:
        """Where every alias points."""
        found: dict[Reference, str] = {}
        async for name in self._store.list(""):
            model, _, rest = name.partition("/")
            if rest.startswith("aliases/"):
                reference = Reference(model, rest.removeprefix("aliases/").removesuffix(".json"))
                found[reference] = await self.alias(reference)
        return found


def object_name(model: str, version: str, file: str) -> str:
    return f"{model}/{version}/{file}"


def _alias(version: str, before: dict[str, Any] | None) -> bytes:
    """An alias moved to where it points already keeps what it knows of before."""
    was = before["version"] if before else None
    previous = before.get("previous") if before and was == version else was
    return json.dumps({"version": version, "previous": previous}).encode()


def _alias_name(reference: Reference) -> str:
    return f"{reference.model}/aliases/{reference.which}.json"
