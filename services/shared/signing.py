"""Signatures of model versions: Ed25519 over the version, which is the digest of the manifest."""

import base64
import binascii
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_public_key,
    load_pem_private_key,
)
from pydantic import AfterValidator, BeforeValidator, Field

from services.shared.manifests import PUBLISHER, Manifest
from services.shared.settings import Settings, WrongSettings

RAW_KEY_BYTES = 32


class Untrusted(Exception):
    """No trusted key has signed this version. The message says what is wrong."""


class SigningKey:
    """A private key. `public` is its public key as TIDEGATE_TRUSTED_KEYS takes it."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = base64.b64encode(key.public_key().public_bytes_raw()).decode()

    @classmethod
    def generate(cls) -> "SigningKey":
        """A new random key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def parse(cls, content: bytes) -> "SigningKey":
        """Reads PEM (PKCS #8, as `openssl genpkey -algorithm ed25519` writes it), or base64 of the 32 raw bytes.

        Raises:
            ValueError: It is neither, or a key of another kind.
        """
        if content.lstrip().startswith(b"-----BEGIN"):
            return cls(_of_pem(content))
        return cls(Ed25519PrivateKey.from_private_bytes(_raw(content.decode("ascii", "replace"))))

    def to_pem(self) -> str:
        """The key as PEM (PKCS #8), without a password."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    def sign(self, manifest: Manifest) -> Manifest:
        """The same manifest with a signature. Its version stays the same."""
        signature = base64.b64encode(self._key.sign(manifest.version.encode())).decode()
        return manifest.model_copy(update={"signer": self.public, "signature": signature})


def public_key(text: str) -> str:
    """Normalizes a public key to base64 of its 32 raw bytes. Base64 of its DER form is accepted too.

    Raises:
        ValueError: It is not an Ed25519 public key.
    """
    try:
        decoded = base64.b64decode(text.strip(), validate=True)
        key = Ed25519PublicKey.from_public_bytes(decoded) if len(decoded) == RAW_KEY_BYTES else _of_der(decoded)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(f"{text!r} is not an Ed25519 public key in base64") from None
    return base64.b64encode(key.public_bytes_raw()).decode()


def _all_public(keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(public_key(key) for key in keys)


PublicKeys = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda value: tuple(value.split(",")) if isinstance(value, str) else value),
    AfterValidator(_all_public),
    Field(min_length=1),
]
"""Public keys in base64, several with commas between."""


class TrustSettings(Settings):
    """The keys whose models are loaded."""

    trusted_keys: PublicKeys = Field(
        description="Public keys (Ed25519, base64, with commas between). Only models signed by one of them are loaded."
    )


class SigningSettings(Settings):
    """The key that signs published model versions."""

    signing_key_file: Path = Field(
        description="File with the Ed25519 private key that signs model versions: PEM, or base64 of its 32 bytes."
    )

    publisher: str | None = Field(
        None,
        pattern=PUBLISHER,
        description="Who publishes, for people: written into the manifest of new versions, which does not prove it."
        " Default: nobody is named; the command line names the user of this machine.",
    )

    def signing_key(self) -> SigningKey:
        """Reads the key.

        Raises:
            WrongSettings: The file cannot be read or does not hold a key.
        """
        return load_key(self.signing_key_file, "TIDEGATE_SIGNING_KEY_FILE")


class TrustedKeys:
    """The public keys whose signatures are accepted.

    Args:
        keys: Public keys in base64.

    Raises:
        ValueError: A key is not an Ed25519 public key.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = frozenset(public_key(key) for key in keys)

    def check(self, manifest: Manifest) -> None:
        """Checks that one of these keys signed the version.

        Raises:
            Untrusted: No signature, an unknown key, or a wrong signature.
        """
        name = f"{manifest.model}@{manifest.version}"
        if not manifest.signer or not manifest.signature:
            raise Untrusted(f"{name} is not signed")
        if manifest.signer not in self._keys:
            raise Untrusted(f"{name} is signed by {manifest.signer}, which is not among the trusted keys")
        try:
            signature = base64.b64decode(manifest.signature, validate=True)
            Ed25519PublicKey.from_public_bytes(_raw(manifest.signer)).verify(signature, manifest.version.encode())
        except (InvalidSignature, ValueError):
            raise Untrusted(f"{name}: the signature is wrong for this version") from None


def load_key(file: Path, name: str) -> SigningKey:
    """Reads a private key from a file.

    Args:
        file: PEM, or base64 of the 32 raw bytes.
        name: The setting that names the file, for error messages.

    Raises:
        WrongSettings: The file cannot be read or does not hold a key.
    """
    try:
        return SigningKey.parse(file.read_bytes())
    except OSError as error:
        raise WrongSettings(f"{name} = {str(file)!r}: {error.strerror}") from None
    except ValueError as error:
        raise WrongSettings(f"{name} = {str(file)!r}: {error}") from None


def _of_pem(content: bytes) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("not a private key in PEM, or it has a password") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("a private key, but not an Ed25519 key")
    return key


def _of_der(content: bytes) -> Ed25519PublicKey:
    key = load_der_public_key(content)
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("a public key, but not an Ed25519 key")
    return key


def _raw(text: str) -> bytes:
    try:
        decoded = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        raise ValueError("neither PEM nor base64") from None
    if len(decoded) != RAW_KEY_BYTES:
        raise ValueError(f"a raw Ed25519 key has {RAW_KEY_BYTES} bytes, this one has {len(decoded)}")
    return decoded
