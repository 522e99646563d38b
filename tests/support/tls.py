"""A certificate authority for one test, and processes' keys that it signed."""

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.shared.certificates import Tls


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


class Authority:
    """A certificate authority. folder: where keys and certificates are written.

    Attributes:
        file: Its own certificate.
    """

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _name(name)
        certificate = self._sign(self._subject, self._key.public_key(), is_authority=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *, dns: str | None = None, hours: float = 1) -> Tls:
        """A key for a process: on loopback, or with a DNS name and no address. Issued again, it replaces the files.

        Args:
            name: Names the files.
            dns: The only name in the certificate.
            hours: Until it expires; less than 0 for one that has expired.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(_name(name), key.public_key(), is_authority=False, dns=dns, hours=hours)
        key_file, certificate_file = self._folder / f"{name}.key", self._folder / f"{name}.pem"
        key_file.write_bytes(_pem(key))
        certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return Tls(certificate=certificate_file, key=key_file, authority=self.file, name=dns)

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        *,
        is_authority: bool,
        dns: str | None = None,
        hours: float = 1,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        names = x509.SubjectAlternativeName([x509.DNSName(dns) if dns else loopback])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=2))
            .not_valid_after(now + datetime.timedelta(hours=hours))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(names, critical=False)
        )
        return builder.sign(self._key, hashes.SHA256())
