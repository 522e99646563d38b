"""The lines of a batch: requests as the client uploaded them, and results as the client reads them.

The input lies in a file of this gateway, and each line is read when its turn comes. In memory, all lines together could
take twenty times the space of the file.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field

from services.gateway.batches.batch import Endpoint, Problem
from services.gateway.openai import strict_json, validation
from services.gateway.openai.fields import Request
from services.shared.errors import InvalidRequest, TidegateError

MAX_LINES = 50_000
MAX_LINE_BYTES = 1024 * 1024
MAX_PROBLEMS = 100
LINE = "The line"


class _Line(Request):
    custom_id: Annotated[str, Field(min_length=1, max_length=512)]
    method: Literal["POST"]
    url: Endpoint
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """One request of the input file.

    Attributes:
        index: its place among the lines that are not blank, from 0.
        custom_id: its name, which the client chose.
        at: offset of its first byte in the file.
        size: its length in bytes.
    """

    index: int
    custom_id: str
    at: int
    size: int


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one request.

    Attributes:
        index: of its line.
        failed: whether it goes to the error file.
        document: as the client reads it.
    """

    index: int
    failed: bool
    document: dict[str, Any]

    def dump(self) -> bytes:
        """Returns the result as it is stored in a part."""
        return orjson.dumps([self.index, self.failed, self.document]) + b"\n"

    def line(self) -> bytes:
        """Returns the result as the client reads it."""
        return orjson.dumps(self.document) + b"\n"

    @classmethod
    def load(cls, line: bytes) -> "Result":
        """Returns what `dump` made."""
        return cls(*orjson.loads(line))


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
    seen: set[str] = set()
    at = 0
    for number, raw in enumerate(content, start=1):
        try:
            if raw.strip():
                lines.append(Line(len(lines), _read(raw, endpoint, seen).custom_id, at, len(raw)))
        except InvalidRequest as error:
            code = error.code or error.wire.code or "invalid_request"
            problems.append(Problem(code=code, message=error.message, param=error.param, line=number))
        at += len(raw)
        if len(lines) > MAX_LINES:
            return [], [Problem(code="too_many_requests", message=f"A batch can have {MAX_LINES} requests.")]
        if len(problems) >= MAX_PROBLEMS:
            break
    if not lines and not problems:
        problems.append(Problem(code="empty_file", message="The file has no requests."))
    return ([], problems) if problems else (lines, [])


def body_of(raw: bytes) -> dict[str, Any]:
    """Returns the body of a valid line."""
    body: dict[str, Any] = strict_json.parse_object(raw, LINE)["body"]
    return body


def answered(batch_id: str, line: Line, request_id: str, body: dict[str, Any]) -> Result:
    """Returns the result of a request that succeeded."""
    return Result(line.index, False, _document(batch_id, line, request_id, 200, body))


def refused(batch_id: str, line: Line, request_id: str, error: TidegateError) -> Result:
    """Returns the result of a request that failed."""
    return Result(line.index, True, _document(batch_id, line, request_id, error.wire.http, error.body()))


def _document(batch_id: str, line: Line, request_id: str, status: int, body: dict[str, Any]) -> dict[str, Any]:
    response = {"status_code": status, "request_id": request_id, "body": body}
    name = f"batch_req_{batch_id.removeprefix('batch_')}_{line.index}"
    return {"id": name, "custom_id": line.custom_id, "response": response, "error": None}


def _read(raw: bytes, endpoint: Endpoint, seen: set[str]) -> _Line:
    if len(raw) > MAX_LINE_BYTES:
        raise InvalidRequest(f"A line can have {MAX_LINE_BYTES} bytes.", code="line_too_long")
    line = validation.check(_Line, strict_json.parse_object(raw, LINE))
    if line.url != endpoint:
        raise InvalidRequest(f"The batch is for {endpoint}.", param="url", code="mismatched_endpoint")
    if line.custom_id in seen:
        raise InvalidRequest(
            "This custom_id stands on an earlier line too.", param="custom_id", code="duplicate_custom_id"
        )
    if line.body.get("stream"):
        raise InvalidRequest("Answers of a batch are not streamed.", param="body.stream", code="invalid_value")
    seen.add(line.custom_id)
    return line


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
