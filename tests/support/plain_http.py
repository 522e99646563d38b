"""Clients of plain HTTP need no certificates. To load those of the machine takes longer than most tests' requests."""

import ssl


def no_certificates() -> ssl.SSLContext:
    """A TLS context that trusts no certificate authority, for clients that never use TLS."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
