"""The keys and passwords of a cluster. They are made once and kept across restarts, so clients can keep using them."""

import secrets
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from services.local.data_folder import DataFolder, write_private
from services.shared.settings import WrongSettings
from services.shared.signing import SigningKey, load_key


class Secrets(BaseModel):
    """The content of secrets.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    api_key: str
    admin_key: str
    server_secret: str = ""
    redis_password: str
    s3_access_key: str
    s3_secret_key: str

    @classmethod
    def generate(cls) -> Self:
        """New random secrets."""
        return cls(
            api_key=f"tg-{secrets.token_urlsafe(24)}",
            admin_key=f"tga-{secrets.token_urlsafe(24)}",
            server_secret=secrets.token_hex(32),
            redis_password=secrets.token_hex(24),
            s3_access_key=secrets.token_hex(10),
            s3_secret_key=secrets.token_hex(20),
        )


def load_or_create(folder: DataFolder) -> Secrets:
    """Reads the secrets of the folder, or makes them when there are none.

    Raises:
        WrongSettings: The file has wrong or missing fields.
    """
    if not folder.secrets.exists():
        write_private(folder.secrets, Secrets.generate().model_dump_json(indent=2))
    try:
        return _completed(folder, Secrets.model_validate_json(folder.secrets.read_bytes()))
    except ValidationError as error:
        fields = ", ".join(str(problem["loc"][0] if problem["loc"] else "file") for problem in error.errors())
        raise WrongSettings(f"{folder.secrets}: wrong or missing: {fields}. Remove the file to get new keys") from None


def _completed(folder: DataFolder, kept: Secrets) -> Secrets:
    """Adds the server secret, which files of the first release do not have."""
    if kept.server_secret:
        return kept
    completed = kept.model_copy(update={"server_secret": Secrets.generate().server_secret})
    write_private(folder.secrets, completed.model_dump_json(indent=2))
    return completed


def load_or_create_signing_key(folder: DataFolder) -> SigningKey:
    """Reads the key that signs imported and trained models, or makes it when there is none.

    Raises:
        WrongSettings: The file does not hold a key.
    """
    if not folder.signing_key.exists():
        write_private(folder.signing_key, SigningKey.generate().to_pem())
    return load_key(folder.signing_key, "signing key")
