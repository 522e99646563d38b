"""The certificate of a process. Its files are read again for every connection, so a renewed one is used at once.

The library for certificates is imported where one is read: most processes of a local cluster use no TLS, and every
process and command would need a sixth of its start for it.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, PrivateAttr

if TYPE_CHECKING:
    from cryptography import x509

log = logging.getLogger(__name__)

READS = 3
"""Whoever renews a certificate replaces two files. Between the two they do not fit together."""
MAX_CHAIN = 8


class WrongCertificate(ValueError):
    """The files cannot be used. The message names the file and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Pems:
    """The content of the files, in PEM."""

    certificate: bytes
    key: bytes
    authority: bytes


class Tls(BaseModel):
    """PEM files: certificate and key of this process, and the authority that signed all certificates of the cluster.

    Attributes:
        name: The name that peers' certificates must carry; None: the address at which they are reached.
    """

    model_config = ConfigDict(frozen=True)
    certificate: Path
    key: Path
    authority: Path
    name: str | None = None
    _last: Pems | None = PrivateAttr(None)
    _told: str = PrivateAttr("")

    def pems(self) -> Pems:
        """Returns what the files hold now. While that is unusable, what they held before; the log says so once.

        Raises:
            WrongCertificate: The files are unusable, and always were.
        """
        try:
            self._last, trouble = self._read(), ""
            if expired := _expired(self._last.certificate, datetime.now(UTC)):
                trouble = f"{self.certificate}: {expired}; other processes refuse it"
        except WrongCertificate as error:
            if self._last is None:
                raise
            trouble = f"{error}; the earlier certificate stays in use"
        if trouble != self._told:
            self._told = trouble
            log.error("certificate: %s", trouble) if trouble else log.info("certificate: usable again")
        return self._last

    def check(self, now: datetime) -> None:
        """Checks before the first connection what peers will check.

        Raises:
            WrongCertificate: Peers would refuse this process.
        """
        from cryptography import x509

        pems = self._read()
        if expired := _expired(pems.certificate, now):
            raise WrongCertificate(f"{self.certificate}: {expired}")
        own, *others = x509.load_pem_x509_certificates(pems.certificate)
        if not _is_signed(own, others, _certificates(self.authority, pems.authority)):
            raise WrongCertificate(f"{self.certificate}: no authority in {self.authority} has signed it")

    def lifetime(self) -> tuple[float, float]:
        """From when to when the certificate is valid, in seconds since 1970.

        Raises:
            WrongCertificate: The files are unusable, and always were.
        """
        (own, *_) = _certificates(self.certificate, self.pems().certificate)
        return own.not_valid_before_utc.timestamp(), own.not_valid_after_utc.timestamp()

    def _read(self) -> Pems:
        for _ in range(READS):
            certificate, key, authority = (_content(path) for path in (self.certificate, self.key, self.authority))
            if _fits(_certificates(self.certificate, certificate)[0], self.key, key):
                return Pems(certificate, key, authority)
        raise WrongCertificate(f"{self.key}: it is not the private key of {self.certificate}")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WrongCertificate(f"{path}: {error.strerror}") from None


def _certificates(path: Path, pem: bytes) -> list["x509.Certificate"]:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise WrongCertificate(f"{path}: there is no certificate in it, in PEM") from None


def _fits(certificate: "x509.Certificate", path: Path, pem: bytes) -> bool:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        raise WrongCertificate(f"{path}: it holds no private key in PEM without a password") from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return key.public_key().public_bytes(*form) == certificate.public_key().public_bytes(*form)


def _expired(pem: bytes, now: datetime) -> str | None:
    from cryptography import x509

    (own, *_) = x509.load_pem_x509_certificates(pem)
    if now > own.not_valid_after_utc:
        return f"the certificate expired at {own.not_valid_after_utc.isoformat()}"
    if now < own.not_valid_before_utc:
        return f"the certificate is valid only from {own.not_valid_before_utc.isoformat()}"
    return None


def _is_signed(
    certificate: "x509.Certificate", chain: list["x509.Certificate"], authorities: list["x509.Certificate"]
) -> bool:
    """Whether one of the authorities signed the certificate, or one that the chain leads to."""
    for _ in range(MAX_CHAIN):
        if _issuer(certificate, authorities):
            return True
        if (issuer := _issuer(certificate, chain)) is None or issuer == certificate:
            return False
        certificate = issuer
    return False


def _issuer(certificate: "x509.Certificate", candidates: Iterable["x509.Certificate"]) -> "x509.Certificate | None":
    from cryptography.exceptions import InvalidSignature

    for candidate in candidates:
        try:
            certificate.verify_directly_issued_by(candidate)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return candidate
    return None
