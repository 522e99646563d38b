"""The key that signs models in tests, and another key that nobody trusts."""

from base64 import b64encode

from services.shared.signing import SigningKey, TrustedKeys

KEY = SigningKey.parse(b64encode(bytes(32)))
STRANGER = SigningKey.parse(b64encode(bytes(31) + b"\x01"))
TRUSTED = TrustedKeys([KEY.public])
