"""The registry that commands read and publish to, and the key that they sign with."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from services.cli.errors import WRONG_USE, CommandFailed

if TYPE_CHECKING:
    from services.shared.objectstore import StoreSettings
    from services.shared.signing import SigningKey


def store_settings(data_dir: Path, environ: Mapping[str, str] = os.environ) -> "StoreSettings":
    """Those of TIDEGATE_S3_* where the environment names one, else the local cluster's. Raises CommandFailed."""
    from services.cli.running_cluster import running_cluster
    from services.local import secrets
    from services.local.data_folder import DataFolder
    from services.shared.objectstore import StoreSettings
    from services.shared.settings import WrongSettings, read

    if "TIDEGATE_S3_ENDPOINT" in environ:
        try:
            return read(StoreSettings, environ)
        except WrongSettings as error:
            raise CommandFailed(f"wrong configuration:\n{error}", status=WRONG_USE) from None
    endpoint = running_cluster(data_dir).addresses.s3
    keys = secrets.keep(DataFolder.at(data_dir))
    return StoreSettings(s3_endpoint=endpoint, s3_access_key=keys.s3_access_key, s3_secret_key=keys.s3_secret_key)


def signing_key(data_dir: Path, environ: Mapping[str, str] = os.environ) -> "SigningKey":
    """That of TIDEGATE_SIGNING_KEY_FILE; the local cluster's for the local cluster's registry. Raises CommandFailed."""
    from services.local import secrets
    from services.local.data_folder import DataFolder
    from services.shared.settings import WrongSettings, read
    from services.shared.signing import SigningSettings

    try:
        if "TIDEGATE_SIGNING_KEY_FILE" in environ or "TIDEGATE_S3_ENDPOINT" in environ:
            return read(SigningSettings, environ).signing_key()
        return secrets.keep_signing_key(DataFolder.at(data_dir))
    except WrongSettings as error:
        raise CommandFailed(f"wrong configuration:\n{error}", status=WRONG_USE) from None
