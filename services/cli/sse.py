"""Server-sent events, as OpenAI streams answers."""

import json
from collections.abc import Iterable, Iterator
from typing import Any


def chunks(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The documents of a stream, until `[DONE]`. `lines` come without their ends."""
    for line in lines:
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        yield json.loads(data)
