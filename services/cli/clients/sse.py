"""Parses server-sent events of OpenAI's streaming format."""

import json
from collections.abc import Iterable, Iterator
from typing import Any


def chunks(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The JSON documents of a stream, up to `[DONE]`. `lines` come without line ends."""
    for line in lines:
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        yield json.loads(data)
