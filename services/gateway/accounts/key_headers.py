"""The headers in which clients send their key: OpenAI's, Anthropic's (x-api-key) and Azure's (api-key)."""

from collections.abc import Iterable

from services.shared.errors import Unauthenticated

AUTHORIZATION = "authorization"
KEY_HEADERS = (AUTHORIZATION, "x-api-key", "api-key")


def presented_key(headers: Iterable[tuple[str, str]]) -> str:
    """Finds the one key that a request presents.

    Args:
        headers: name in lower case and value of each header in KEY_HEADERS that the request has; others are left out.

    Raises:
        Unauthenticated: there is no key, or there are different ones. The message repeats nothing of them.
    """
    given = list(headers)
    if len(given) == 1 and (key := _key(*given[0])):
        return key  # almost every request
    found = {key: name for name, value in given if (key := _key(name, value))}
    if len(found) == 1:
        return next(iter(found))
    if found:
        names = " and ".join(sorted(set(found.values())))
        raise Unauthenticated(
            f"The request has different API keys, in {names}. Send one key only.", code="conflicting_api_keys"
        )
    if any(value.strip() and not _is_bearer(value) for name, value in given if name == AUTHORIZATION):
        raise Unauthenticated("The authorization scheme must be 'Bearer'.")
    raise Unauthenticated(
        "You didn't provide an API key. Send it as 'Authorization: Bearer <key>', or in the header x-api-key."
    )


def _key(name: str, value: str) -> str:
    """Returns the key in a header; empty where it has none. Another scheme than Bearer is not for us, but a proxy."""
    if name != AUTHORIZATION:
        return value.strip()
    scheme, _, key = value.strip().partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _is_bearer(value: str) -> bool:
    return value.split()[0].lower() == "bearer"
