"""The model registry that commands use, and the key that signs what they publish."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from services.cli.errors import WRONG_USE, CommandFailed

if TYPE_CHECKING:
    from services.shared.manifests import Manifest
    from services.shared.objectstore import ObjectStore, StoreSettings
    from services.shared.registry import Reference
    from services.shared.signing import SigningKey, TrustedKeys


def store_settings(data_dir: Path, environ: Mapping[str, str] = os.environ) -> "StoreSettings":
    """How to reach the object store: from TIDEGATE_S3_* if set, else the local cluster's.

    Raises:
        CommandFailed: A variable is wrong.
        ClusterError: No variable is set and no cluster runs in `data_dir`.
    """
    from services.local import secrets
    from services.local.data_folder import DataFolder
    from services.local.running_cluster import running_cluster
    from services.shared.objectstore import StoreSettings
    from services.shared.settings import WrongSettings, read

    if "TIDEGATE_S3_ENDPOINT" in environ:
        try:
            return read(StoreSettings, environ)
        except WrongSettings as error:
            raise CommandFailed(f"wrong configuration:\n{error}", status=WRONG_USE) from None
    endpoint = running_cluster(data_dir).addresses.s3
    keys = secrets.load_or_create(DataFolder.at(data_dir))
    return StoreSettings(s3_endpoint=endpoint, s3_access_key=keys.s3_access_key, s3_secret_key=keys.s3_secret_key)


def open_store(data_dir: Path) -> "ObjectStore":
    """The object store with the registry.

    Raises:
        CommandFailed: A variable TIDEGATE_S3_* is wrong.
        ClusterError: No variable is set and no cluster runs in `data_dir`.
    """
    from services.shared.objectstore import connect

    return connect(store_settings(data_dir))


def signing_key(data_dir: Path, environ: Mapping[str, str] = os.environ) -> "SigningKey":
    """The key of TIDEGATE_SIGNING_KEY_FILE; for the local cluster's registry, the local cluster's key.

    Raises:
        CommandFailed: The variable is missing or wrong, or the file does not hold a key.
    """
    from services.local import secrets
    from services.local.data_folder import DataFolder
    from services.shared.settings import WrongSettings, read
    from services.shared.signing import SigningSettings

    try:
        if "TIDEGATE_SIGNING_KEY_FILE" in environ or "TIDEGATE_S3_ENDPOINT" in environ:
            return read(SigningSettings, environ).signing_key()
        return secrets.load_or_create_signing_key(DataFolder.at(data_dir))
    except WrongSettings as error:
        raise CommandFailed(f"wrong configuration:\n{error}", status=WRONG_USE) from None


def publisher(environ: Mapping[str, str] = os.environ) -> str | None:
    """Who publishes, for people: TIDEGATE_PUBLISHER, else the user of this machine; None if it has no name.

    Raises:
        CommandFailed: The variable is wrong.
    """
    import getpass
    import re

    from services.shared.manifests import PUBLISHER

    if name := environ.get("TIDEGATE_PUBLISHER"):
        if not re.fullmatch(PUBLISHER, name):
            raise CommandFailed(f"TIDEGATE_PUBLISHER = {name!r}: one line of at most 128 characters", status=WRONG_USE)
        return name
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return None


def trusted_keys(data_dir: Path, environ: Mapping[str, str] = os.environ) -> "TrustedKeys":
    """The keys of TIDEGATE_TRUSTED_KEYS; for the local cluster's registry, the local cluster's key.

    Raises:
        CommandFailed: The variable is missing or wrong.
    """
    from services.shared.settings import WrongSettings, read
    from services.shared.signing import TrustedKeys, TrustSettings

    if "TIDEGATE_S3_ENDPOINT" not in environ:
        return TrustedKeys([signing_key(data_dir, {}).public])
    try:
        return TrustedKeys(read(TrustSettings, environ).trusted_keys)
    except WrongSettings as error:
        raise CommandFailed(f"wrong configuration:\n{error}", status=WRONG_USE) from None


def alias_reference(model: str, alias: str, options: str) -> "Reference":
    """The reference model@alias. `options` are the option names that an error message shows.

    Raises:
        CommandFailed: A name is wrong, or the alias looks like a version.
    """
    from services.shared.registry import Reference

    try:
        reference = Reference.parse(f"{model}@{alias}")
    except ValueError as error:
        raise CommandFailed(f"{options}: {error}", status=WRONG_USE) from None
    if reference.is_version:
        raise CommandFailed(f"--alias = {alias}: an alias may not look like a version", status=WRONG_USE)
    return reference


def model_reference(text: str, option: str) -> "Reference":
    """The reference that an option holds.

    Raises:
        CommandFailed: It is no reference.
    """
    from services.shared.registry import Reference

    try:
        return Reference.parse(text)
    except ValueError as error:
        raise CommandFailed(f"{option}: {error}", status=WRONG_USE) from None


async def find_manifest(store: "ObjectStore", model: str, version: str) -> "Manifest":
    """The manifest of a model version. `version` may also be its first characters, or an alias.

    Raises:
        CommandFailed: The registry has no such version, or it cannot be read.
    """
    from services.shared.manifests import WrongManifest
    from services.shared.objectstore import StoreError
    from services.shared.registry import Registry, UnknownVersion

    try:
        return await Registry(store).find(model, version)
    except (UnknownVersion, WrongManifest) as error:
        raise CommandFailed(str(error)) from None
    except StoreError as error:
        raise CommandFailed(f"the object store cannot be read: {error}") from None


async def all_aliases(store: "ObjectStore") -> "dict[Reference, str]":
    """The version of every alias.

    Raises:
        CommandFailed: The registry cannot be read.
    """
    from services.shared.manifests import WrongManifest
    from services.shared.objectstore import StoreError
    from services.shared.registry import Registry

    try:
        return await Registry(store).aliases()
    except WrongManifest as error:
        raise CommandFailed(str(error)) from None
    except StoreError as error:
        raise CommandFailed(f"the object store cannot be read: {error}") from None
