"""What a client may have meant by a URL that does not exist: mostly its base URL is almost right."""

import re
from collections.abc import Callable, Iterator

MAX_CHARACTERS = 256
BASE = "/v1"


def hint(path: str, exists: Callable[[str], bool]) -> str:
    """Returns a sentence for the error about an unknown URL; empty if no path nearby exists.

    Args:
        path: what the client asked for.
        exists: whether there is a route for a path.
    """
    if len(path) > MAX_CHARACTERS:
        return ""
    for meant, reason in _candidates(path):
        if meant != path and exists(meant):
            return f" Did you mean {meant}? {reason}"
    return ""


def _candidates(path: str) -> Iterator[tuple[str, str]]:
    plain = re.sub("/{2,}", "/", path).rstrip("/")
    once = re.sub(f"^(?:{BASE})+(?=/)", BASE, plain)
    yield plain, "Your URL has a slash too many."
    yield once, f"Your base URL ends with {BASE} already."
    yield BASE + plain, f"The base URL must end with {BASE}."
    yield _without_repetition(once), "Your base URL must end before the endpoint's name."


def _without_repetition(path: str) -> str:
    """Drops an end that is there twice in a row: /v1/chat/completions/chat/completions."""
    parts = path.split("/")
    for count in range(len(parts) // 2, 0, -1):
        if parts[-count:] == parts[-2 * count : -count]:
            return "/".join(parts[:-count])
    return path
