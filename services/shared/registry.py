"""The model registry: versions and aliases in the object store. manifests.py describes the layout."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from services.shared.manifests import MANIFEST, Manifest, Sha256, Stored, WrongManifest, parse
from services.shared.objectstore import Conflict, Missing, ObjectStore

_VERSION = re.compile(r"[0-9a-f]{64}")
_REFERENCE = re.compile(r"(?P<model>[a-z0-9][a-z0-9._-]{0,62})(@(?P<which>[a-z0-9][a-z0-9._-]{0,63}))?")

_WORD = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

DEFAULT_ALIAS = "latest"
CANDIDATE = "candidate"
"""The alias of what was published last."""
MOVED_BY_ROLLOUT = frozenset({DEFAULT_ALIAS, "stable"})
"""Aliases of models that publishing never moves: a worker that starts again would take up an unproved version."""
SHORTEST_BEGINNING = 4


class UnknownVersion(Exception):
    """The reference names nothing in the registry."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Names a version: `model` (alias `latest`), `model@alias` or `model@version`."""

    model: str
    which: str = DEFAULT_ALIAS

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Parses a reference.

        Raises:
            ValueError: `text` is not a reference.
        """
        if not (match := _REFERENCE.fullmatch(text)):
            raise ValueError(f"{text!r} is not a model reference: model, model@alias or model@version")
        return cls(match["model"], match["which"] or DEFAULT_ALIAS)

    @property
    def is_version(self) -> bool:
        """Whether it names a version and not an alias."""
        return is_version(self.which)

    def __str__(self) -> str:
        return f"{self.model}@{self.which}"


class Pointer(Stored):
    """An alias: the version that it points to, and the version before its last move."""

    version: Sha256
    previous: Sha256 | None = None

    def moved_to(self, version: str) -> "Pointer":
        """The alias after a move. A move to the present version changes nothing."""
        return self if version == self.version else Pointer(version=version, previous=self.version)


class Registry:
    """The registry in one object store.

    All methods raise StoreError when the store cannot be reached.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def resolve(self, reference: Reference) -> Manifest:
        """The manifest that a reference names.

        Raises:
            UnknownVersion: The registry has no such version or alias.
            WrongManifest: The manifest does not parse or is not that of the version.
        """
        version = reference.which if reference.is_version else await self.alias(reference)
        try:
            document, _ = await self._store.get(object_name(reference.model, version, MANIFEST))
        except Missing:
            raise UnknownVersion(f"{reference}: no such version in the registry") from None
        manifest = parse(document, expected_version=version)
        if manifest.model != reference.model:
            raise WrongManifest(f"{reference}: the manifest there belongs to {manifest.model}@{version}")
        return manifest

    async def alias(self, reference: Reference) -> str:
        """The version that an alias points to.

        Raises:
            UnknownVersion: There is no such alias.
            WrongManifest: The alias does not parse.
        """
        return (await self.pointer(reference)).version

    async def pointer(self, reference: Reference) -> Pointer:
        """The alias itself.

        Raises:
            UnknownVersion: There is no such alias.
            WrongManifest: The alias does not parse.
        """
        try:
            document, _ = await self._store.get(_alias_name(reference))
        except Missing:
            raise UnknownVersion(f"{reference}: no such model or alias in the registry") from None
        return _pointer(reference, document)

    async def move_alias(self, reference: Reference, version: str) -> None:
        """Points an alias to a version. An alias that does not exist is made.

        Raises:
            Conflict: Another process moved the alias at the same time.
            WrongManifest: The alias does not parse.
        """
        try:
            document, etag = await self._store.get(_alias_name(reference))
        except Missing:
            await self._store.put_new(_alias_name(reference), _written(Pointer(version=version)))
        else:
            moved = _pointer(reference, document).moved_to(version)
            await self._store.put_if(_alias_name(reference), _written(moved), etag)

    async def sign_again(self, before: Manifest, after: Manifest) -> bool:
        """Replaces the manifest of a version by one that differs in signer and signature only.

        Returns:
            False: Somebody else has replaced it meanwhile, or has removed it.

        Raises:
            WrongManifest: The manifest there does not parse, or is not that of the version.
        """
        name = object_name(before.model, before.version, MANIFEST)
        try:
            document, etag = await self._store.get(name)
            if parse(document, expected_version=before.version) != before:
                return False
            await self._store.put_if(name, after.to_json(), etag)
        except (Missing, Conflict):
            return False
        return True

    async def previous(self, reference: Reference) -> str | None:
        """The version that an alias pointed to before its last move; None when it was never moved.

        Raises:
            UnknownVersion: There is no such alias.
        """
        return (await self.pointer(reference)).previous

    async def models(self) -> tuple[str, ...]:
        """Names of all models and adapters, sorted."""
        return await self._store.folders()

    async def versions(self) -> AsyncIterator[Manifest]:
        """Every complete version of every model, sorted by name.

        Raises:
            WrongManifest: A manifest does not parse or is not that of its version.
        """
        async for name in self._store.list(""):
            model, _, rest = name.partition("/")
            version, _, file = rest.partition("/")
            if file == MANIFEST and is_version(version):
                try:
                    yield await self.resolve(Reference(model, version))
                except UnknownVersion:  # it was listed, and removed before it was read
                    continue

    async def find(self, model: str, word: str) -> Manifest:
        """Finds a version by what a person types: an alias, a version, or its first characters (at least 4).

        Raises:
            UnknownVersion: Nothing or several versions match.
            WrongManifest: The manifest does not parse or is not that of the version.
        """
        if not _WORD.fullmatch(word):
            raise UnknownVersion(f"{word!r} is neither an alias nor a version")
        versions = [version async for version in self._versions_of(model) if version.startswith(word)]
        if len(versions) == 1 and len(word) >= SHORTEST_BEGINNING:
            return await self.resolve(Reference(model, versions[0]))
        if len(versions) > 1 and len(word) >= SHORTEST_BEGINNING:
            raise UnknownVersion(f"{model}@{word}: {len(versions)} versions begin like this; give more characters")
        return await self.resolve(Reference(model, word))

    async def _versions_of(self, model: str) -> AsyncIterator[str]:
        async for name in self._store.list(f"{model}/"):
            version, _, file = name.removeprefix(f"{model}/").partition("/")
            if file == MANIFEST:
                yield version

    async def aliases(self) -> dict[Reference, str]:
        """The version of every alias.

        Raises:
            WrongManifest: An alias does not parse.
        """
        return {reference: pointer.version for reference, pointer in (await self.pointers()).items()}

    async def pointers(self) -> dict[Reference, Pointer]:
        """Every alias.

        Raises:
            WrongManifest: An alias does not parse.
        """
        found: dict[Reference, Pointer] = {}
        async for name in self._store.list(""):
            model, _, rest = name.partition("/")
            if rest.startswith("aliases/"):
                reference = Reference(model, rest.removeprefix("aliases/").removesuffix(".json"))
                found[reference] = await self.pointer(reference)
        return found


def is_version(text: str) -> bool:
    """Whether `text` has the form of a version: 64 hex digits."""
    return bool(_VERSION.fullmatch(text))


def object_name(model: str, version: str, file: str) -> str:
    """Name of a version's file in the object store."""
    return f"{model}/{version}/{file}"


def _pointer(reference: Reference, document: bytes) -> Pointer:
    try:
        return Pointer.model_validate_json(document)
    except ValueError as error:
        raise WrongManifest(f"alias {reference} does not parse: {error}") from None


def _written(pointer: Pointer) -> bytes:
    return pointer.model_dump_json().encode()


def _alias_name(reference: Reference) -> str:
    return f"{reference.model}/aliases/{reference.which}.json"
