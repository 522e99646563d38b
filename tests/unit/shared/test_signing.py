"""Only versions that a trusted key signed are accepted; any change is noticed."""

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from services.shared.manifests import parse
from services.shared.settings import WrongSettings, read
from services.shared.signing import SigningKey, SigningSettings, TrustedKeys, Untrusted, load_key, public_key
from tests.support.signing import KEY, STRANGER, TRUSTED
from tests.unit.shared.test_manifests import manifest


def test_a_signature_survives_json_and_is_not_part_of_the_version() -> None:
    signed = KEY.sign(manifest())
    assert signed.version == manifest().version
    TRUSTED.check(parse(signed.to_json(), expected_version=signed.version))


def test_a_signature_holds_for_one_version_only() -> None:
    signed = KEY.sign(manifest())
    moved = manifest(vocab_size=17).model_copy(update={"signer": signed.signer, "signature": signed.signature})
    with pytest.raises(Untrusted, match="the signature is wrong"):
        TRUSTED.check(moved)


def test_each_of_several_keys_is_trusted_and_no_other() -> None:
    both = TrustedKeys([STRANGER.public, KEY.public])
    for key in (KEY, STRANGER):
        both.check(key.sign(manifest()))
    with pytest.raises(Untrusted, match="not among the trusted keys"):
        both.check(SigningKey.generate().sign(manifest()))


def test_a_key_is_the_same_from_pem_and_from_raw_bytes() -> None:
    assert SigningKey.parse(KEY.to_pem().encode()).public == KEY.public
    assert SigningKey.parse(base64.b64encode(bytes(32)) + b"\n").public == KEY.public


def test_a_public_key_may_also_come_as_openssl_writes_it() -> None:
    raw = Ed25519PublicKey.from_public_bytes(base64.b64decode(KEY.public))
    der = raw.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert public_key(base64.b64encode(der).decode()) == KEY.public


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "has 32 bytes, this one has 0"),
        (b"not base64!", "neither PEM nor base64"),
        (b"-----BEGIN PRIVATE KEY-----\nrubbish\n-----END PRIVATE KEY-----", "not a private key"),
        (
            ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            "not an Ed25519 key",
        ),
    ],
    ids=["empty", "rubbish", "rubbish in PEM", "another kind"],
)
def test_a_file_that_is_no_key_is_told_with_its_name(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(WrongSettings, match=rf"TIDEGATE_X = .*key.*{reason}"):
        load_key(file, "TIDEGATE_X")


def test_a_missing_key_file_names_the_variable() -> None:
    with pytest.raises(WrongSettings, match="TIDEGATE_SIGNING_KEY_FILE is not set"):
        read(SigningSettings, {})
    with pytest.raises(WrongSettings, match="TIDEGATE_SIGNING_KEY_FILE = 'nowhere'"):
        read(SigningSettings, {"TIDEGATE_SIGNING_KEY_FILE": "nowhere"}).signing_key()


@pytest.mark.parametrize("text", ["", "rubbish", base64.b64encode(bytes(31)).decode()])
def test_what_is_no_public_key_is_not_trusted(text: str) -> None:
    with pytest.raises(ValueError, match="not an Ed25519 public key"):
        TrustedKeys([text])
