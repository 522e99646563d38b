"""The input file of a batch. Every line is checked before the first request runs.

The file lies on the disk of this gateway, and each line is read again when its turn comes. In memory, all lines
together could take twenty times the space of the file.
"""

import asyncio
import codecs
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.gateway.batches.batch import Endpoint, Problem
from services.gateway.batches.lines import Line
from services.gateway.openai import strict_json
from services.shared.errors import InvalidRequest, NotJson

MAX_LINES = 50_000
MAX_LINE_BYTES = 1024 * 1024
MAX_CUSTOM_ID = 512
MAX_PROBLEMS = 100
SHOWN_CHARACTERS = 64
"""Of what a client wrote, in an error."""


@dataclass(frozen=True, slots=True)
class BatchInput:
    """The input file of a batch on this machine. If it has problems, it has no lines."""

    path: Path
    lines: list[Line]
    problems: list[Problem]

    @classmethod
    async def fetch(cls, pieces: AsyncIterator[bytes], path: Path, endpoint: Endpoint) -> "BatchInput":
        """Writes the input to a file and reads its lines.

        Args:
            pieces: the content.
            path: the file to write.
            endpoint: the one that all lines must name.

        Raises:
            OSError: the file cannot be written. What `pieces` raises is raised too.
        """
        with path.open("wb") as file:
            async for piece in pieces:
                await asyncio.to_thread(file.write, piece)
        return cls(path, *await asyncio.to_thread(_read_file, path, endpoint))

    def body(self, line: Line) -> dict[str, Any]:
        """Reads the body of a line's request.

        Raises:
            OSError: the file cannot be read.
        """
        with self.path.open("rb") as file:
            file.seek(line.at)
            return body_of(file.read(line.size))


def _read_file(path: Path, endpoint: Endpoint) -> tuple[list[Line], list[Problem]]:
    with path.open("rb") as file:
        return read_lines(file, endpoint)


def read_lines(content: Iterable[bytes], endpoint: Endpoint) -> tuple[list[Line], list[Problem]]:
    """Reads an input file.

    Args:
        content: the lines with their line ends.
        endpoint: the one that all lines must name.

    Returns:
        All lines and no problems, or no lines and what is wrong.
    """
    lines: list[Line] = []
    problems: list[Problem] = []
    reader = _Reader(endpoint)
    at = 0
    for number, raw in enumerate(content, start=1):
        marked = number == 1 and raw.startswith(codecs.BOM_UTF8)
        skipped = len(codecs.BOM_UTF8) if marked else 0
        try:
            if request := raw[skipped:].strip():
                custom_id, model = reader.read(request)
                lines.append(Line(len(lines), number, custom_id, model, at + skipped, len(raw) - skipped))
        except InvalidRequest as error:
            problems.append(problem(number, reader.custom_id, error))
        at += len(raw)
        if len(lines) > MAX_LINES:
            return [], [Problem(code="too_many_tasks", message=f"A batch can have {MAX_LINES} requests.")]
        if len(problems) >= MAX_PROBLEMS:
            break
    if not lines and not problems:
        problems.append(Problem(code="empty_file", message="The file has no requests."))
    return ([], problems) if problems else (lines, [])


def problem(number: int, custom_id: str | None, error: InvalidRequest) -> Problem:
    """Returns what is wrong with a line, said so that people find the line.

    Args:
        number: of the line, counted from 1.
        custom_id: of its request; None if it has none that can be read.
        error: what is wrong.
    """
    code = error.code or error.wire.code or "invalid_request"
    named = f" (custom_id {_shown(custom_id)!r})" if custom_id else ""
    return Problem(code=code, message=f"Line {number}{named}: {error.message}", param=error.param, line=number)


def body_of(raw: bytes) -> dict[str, Any]:
    """Returns the body of a valid line."""
    body: dict[str, Any] = strict_json.parse_object(raw.strip())["body"]
    return body


class _Reader:
    """Checks lines one after another.

    Attributes:
        custom_id: of the line that was read last; None if it has none that can be read.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.custom_id: str | None = None
        self._endpoint = endpoint
        self._seen: set[str] = set()
        self._models: dict[str, str] = {}

    def read(self, raw: bytes) -> tuple[str, str]:
        """Returns custom_id and model of a line.

        Raises:
            InvalidRequest: the line is wrong. Its code is OpenAI's.
        """
        self.custom_id = None
        line = _parse(raw)
        found = line.get("custom_id")
        self.custom_id = found if isinstance(found, str) else None
        custom_id = self._check_custom_id(found)
        _check_method(line.get("method"))
        self._check_url(line.get("url"))
        model = _check_body(line.get("body"))
        self._seen.add(custom_id)
        return custom_id, self._models.setdefault(model, model)

    def _check_custom_id(self, custom_id: Any) -> str:
        if custom_id is None:
            raise _missing("custom_id")
        if not isinstance(custom_id, str) or not 1 <= len(custom_id) <= MAX_CUSTOM_ID:
            raise _wrong("custom_id", f"must be a string of 1 to {MAX_CUSTOM_ID} characters")
        if custom_id in self._seen:
            text = "An earlier line has this custom_id too; it must be unique in the batch."
            raise InvalidRequest(text, param="custom_id", code="duplicate_custom_id")
        return custom_id

    def _check_url(self, url: Any) -> None:
        if url is None:
            raise _missing("url")
        if url != self._endpoint:
            text = f"The URL does not match the endpoint of the batch, which is '{self._endpoint}'."
            raise InvalidRequest(text, param="url", code="invalid_url")


def _parse(raw: bytes) -> dict[str, Any]:
    if len(raw) > MAX_LINE_BYTES:
        raise InvalidRequest(f"A line can have {MAX_LINE_BYTES} bytes.", code="line_too_long")
    try:
        return strict_json.parse_object(raw, "This line")
    except NotJson as error:
        raise InvalidRequest(error.message, code="invalid_json_line") from None


def _check_method(method: Any) -> None:
    if method is None:
        raise _missing("method")
    if method != "POST":
        raise _wrong("method", "must be 'POST'")


def _check_body(body: Any) -> str:
    """Returns the model. The rest of the body is checked when its turn comes."""
    if body is None:
        raise _missing("body")
    if not isinstance(body, dict):
        raise _wrong("body", "must be an object")
    if body.get("stream"):
        text = "Streaming is not supported in batches; leave 'stream' out."
        raise InvalidRequest(text, param="body.stream", code="streaming_unsupported")
    model = body.get("model")
    if model is None:
        raise InvalidRequest("The body must name a model.", param="body.model", code="invalid_request")
    if not isinstance(model, str):
        raise _wrong("body.model", "must be a string")
    return model


def _missing(param: str) -> InvalidRequest:
    return InvalidRequest(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def _wrong(param: str, text: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid value for '{param}': {text}.", param=param, code="invalid_value")


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
