"""Asks a process whether it is ready."""

import contextlib
import ssl

from services.local.process_spec import HttpProbe, ReadinessProbe, RedisProbe, StoreProbe
from services.shared.objectstore import Conflict, StoreError, connect

ASK_LIMIT_S = 5.0
_PROBE = "ready-probe"


async def not_ready_reason(ready: ReadinessProbe) -> str | None:
    """None when the process is ready; else a few words about what is wrong."""
    match ready:
        case HttpProbe(url):
            return await _http(url)
        case RedisProbe(url):
            return await _redis(url)
        case StoreProbe():
            return await _store(ready)


async def _http(url: str) -> str | None:
    import httpx

    # Without its own SSL context, httpx reads all certificate authorities of the machine: 20 ms for a probe of 1 ms.
    no_authorities = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    async with httpx.AsyncClient(trust_env=False, timeout=ASK_LIMIT_S, verify=no_authorities) as client:
        try:
            answer = await client.get(url)
        except httpx.HTTPError as error:
            return f"{type(error).__name__} {error}".strip()
    return None if answer.status_code == 200 else f"{answer.status_code} {answer.text[:200]}"


async def _redis(url: str) -> str | None:
    from redis.asyncio import Redis
    from redis.exceptions import RedisError

    client = Redis.from_url(url, socket_timeout=ASK_LIMIT_S, socket_connect_timeout=ASK_LIMIT_S)
    try:
        await client.ping()
    except (RedisError, OSError) as error:
        return str(error)
    finally:
        await client.aclose()
    return None


async def _store(ready: StoreProbe) -> str | None:
    store = connect(ready.settings)
    try:
        with contextlib.suppress(Conflict):
            await store.put_new(_PROBE, b"ready")
        await store.get(_PROBE)
    except StoreError as error:
        return str(error)
    return None
