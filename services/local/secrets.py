"""The cluster's keys: made once, kept across restarts, so that clients need not be told new ones."""

import secrets
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from services.local.data_folder import DataFolder, write_private
from services.shared.settings import WrongSettings
from services.shared.signing import SigningKey, load_key


class Secrets(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    api_key: str
    admin_key: str
    server_secret: str = ""
    redis_password: str
    s3_access_key: str
    s3_secret_key: str

    @classmethod
    def fresh(cls) -> Self:
        return cls(
            api_key=f"tg-{secrets.token_urlsafe(24)}",
            admin_key=f"tga-{secrets.token_urlsafe(24)}",
            server_secret=secrets.token_hex(32),
            redis_password=secrets.token_hex(24),
            s3_access_key=secrets.token_hex(10),
            s3_secret_key=secrets.token_hex(20),
        )


def keep(folder: DataFolder) -> Secrets:
    """Those of the folder; makes them when there are none. Raises WrongSettings for a file that is not theirs."""
    if not folder.secrets.exists():
        write_private(folder.secrets, Secrets.fresh().model_dump_json(indent=2))
    try:
        return _completed(folder, Secrets.model_validate_json(folder.secrets.read_bytes()))
    except ValidationError as error:
        fields = ", ".join(str(problem["loc"][0] if problem["loc"] else "file") for problem in error.errors())
        raise WrongSettings(f"{folder.secrets}: wrong or missing: {fields}. Remove the file to get new keys") from None


def _completed(folder: DataFolder, kept: Secrets) -> Secrets:
    """With the server's secret, which files of the first release do not have."""
    if kept.server_secret:
        return kept
    completed = kept.model_copy(update={"server_secret": Secrets.fresh().server_secret})
    write_private(folder.secrets, completed.model_dump_json(indent=2))
    return completed


def keep_signing_key(folder: DataFolder) -> SigningKey:
    """Signs what this cluster's people import and train. Raises WrongSettings for a file that is not a key."""
    if not folder.signing_key.exists():
        write_private(folder.signing_key, SigningKey.fresh().to_pem())
    return load_key(folder.signing_key, "signing key")
