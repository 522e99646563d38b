"""Clients for plain HTTP need no authorities. Reading those of the machine takes longer than most tests' requests."""

import ssl


def nobody() -> ssl.SSLContext:
    """What such a client is told to verify by: a context that trusts no one."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
