"""What a request asks for and does not get, because it only hints, labels, or asks for an extra that can be left out.

The answer names these fields in a header, and a metric counts them. Both are bounded, whatever a client sends.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from services.gateway.openai.fields import Request
from services.gateway.openai.unsupported_fields import UNSUPPORTED

HEADER = "x-tidegate-ignored"
STRICT_HEADER = "x-tidegate-strict"
"""With the value `true`, a request asks that unknown fields at its top level be refused."""
MAX_NAMED = 16
MAX_PATH_CHARACTERS = 96
OTHER = "other"
KNOWN = frozenset(
    {
        *("metadata", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "client_metadata"),
        *("store", "reasoning_effort", "reasoning", "reasoning_details", "thinking", "verbosity", "summary", "text"),
        *("include", "include_obfuscation", "truncation", "max_tool_calls", "context_management", "moderation"),
        *("web_search_options", "stream_options", "parallel_tool_calls", "service_tier", "modalities", "logprobs"),
        *("cache_control", "cache_salt", "priority", "request_id", "id", "index", "name", "opts", "status", "phase"),
        *("refusal", "annotations", "strict", "type", "encrypted_content", "provider_options", "extra_body"),
        *("guided_decoding_backend", "guided_whitespace_pattern", "mm_processor_kwargs", "early_stopping"),
        *(
            "tools",
            "input",
            "namespace",
            "prediction",
            "return_tokens_as_token_ids",
            "detail",
            "tags",
            "title",
            "plugins",
            "provider",
            "transforms",
        ),
    }
)
"""Names with a label of their own in the metric; all others count as `other`."""
_NOT_IN_HEADERS = re.compile(r"[^A-Za-z0-9_.\[\]-]")


@dataclass(slots=True)
class IgnoredFields:
    """The fields that were left out of one request.

    Attributes:
        paths: the first of them, such as `messages[2].cache_control`.
        labels: the names of all of them, as the metric knows them.
        more: whether there are more than `paths` has.
    """

    paths: list[str] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)
    more: bool = False

    def add(self, path: str, name: str) -> None:
        """Adds a field. path: where it is; name: its last part."""
        self.labels.add(name if name in KNOWN else OTHER)
        if len(self.paths) < MAX_NAMED:
            self.paths.append(path)
        else:
            self.more = True

    def header(self) -> str:
        """Returns the value of the header; empty if nothing was left out."""
        named = [_NOT_IN_HEADERS.sub("?", path[:MAX_PATH_CHARACTERS]) for path in self.paths]
        return ", ".join([*named, "..."] if self.more else named)


def also_ignored(header: str, paths: Sequence[str]) -> str:
    """Returns the value of the header with more paths, which were found after all others."""
    named = [*filter(None, header.split(", ")), *paths]
    return ", ".join(named if len(named) <= MAX_NAMED else [*named[:MAX_NAMED], "..."])


NONE = IgnoredFields()
"""Of a request of which nothing was left out. It is never changed."""


def ignored_fields(document: dict[str, Any], request: Request) -> IgnoredFields:
    """Returns what a document has and its request has not.

    Args:
        document: the decoded body.
        request: what became of it, with unknown fields left out.

    Raises:
        InvalidRequest: a field within the document would change the answer, and cannot be honoured.
    """
    ignored = IgnoredFields()
    _compare(document, request, "", "", ignored)
    return ignored


def _compare(raw: dict[str, Any], request: Request, path: str, shape: str, ignored: IgnoredFields) -> None:
    """Compares the part of the document that is at `path`. shape: the path without positions in arrays."""
    attributes = request.attributes
    for name, value in raw.items():
        if value is None:
            continue
        attribute = attributes.get(name)
        kept = getattr(request, attribute) if attribute else None
        if kept is None:
            if not attribute and (row := UNSUPPORTED.get(shape + name)) and row.asks(value):
                raise row.error(path + name[:64])
            ignored.add(path + name[:MAX_PATH_CHARACTERS], name)
        elif isinstance(kept, Request) and isinstance(value, dict):
            _compare(value, kept, f"{path}{name}.", f"{shape}{name}.", ignored)
        elif isinstance(kept, list) and isinstance(value, list):
            _compare_arrays(value, kept, name, path, shape, ignored)


def _compare_arrays(raw: list[Any], kept: list[Any], name: str, path: str, shape: str, ignored: IgnoredFields) -> None:
    """Arrays of numbers, which may be long, have nothing to leave out."""
    if not kept or len(raw) != len(kept) or isinstance(kept[0], int):
        return
    for index, (value, item) in enumerate(zip(raw, kept, strict=True)):
        if item is None:
            ignored.add(f"{path}{name}[{index}]", name)
        elif isinstance(item, Request) and isinstance(value, dict):
            _compare(value, item, f"{path}{name}[{index}].", f"{shape}{name}[].", ignored)
