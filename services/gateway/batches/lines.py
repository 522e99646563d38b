"""The lines of a batch: requests as the client uploaded them, and results as the client reads them."""

from dataclasses import dataclass
from typing import Any

import orjson

from services.shared.errors import TidegateError


@dataclass(frozen=True, slots=True)
class Line:
    """One request of the input file.

    Attributes:
        index: its place among the lines that are not blank, from 0.
        number: its place among all lines of the file, from 1.
        custom_id: its name, which the client chose.
        model: what it asks; a model that many lines ask is one object.
        at: offset of its first byte in the file.
        size: its length in bytes.
    """

    index: int
    number: int
    custom_id: str
    model: str
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


def answered(batch_id: str, line: Line, request_id: str, body: dict[str, Any]) -> Result:
    """Returns the result of a request that succeeded."""
    return Result(line.index, False, _document(batch_id, line, request_id, 200, body))


def refused(batch_id: str, line: Line, request_id: str, error: TidegateError) -> Result:
    """Returns the result of a request that failed."""
    return Result(line.index, True, _document(batch_id, line, request_id, error.wire.http, error.body()))


def not_run(batch_id: str, line: Line, code: str, message: str) -> Result:
    """Returns the result of a request that had no time to run. code, message: say why."""
    document = {**_named(batch_id, line), "response": None, "error": {"code": code, "message": message}}
    return Result(line.index, True, document)


def _document(batch_id: str, line: Line, request_id: str, status: int, body: dict[str, Any]) -> dict[str, Any]:
    response = {"status_code": status, "request_id": request_id, "body": body}
    return {**_named(batch_id, line), "response": response, "error": None}


def _named(batch_id: str, line: Line) -> dict[str, Any]:
    return {"id": f"batch_req_{batch_id.removeprefix('batch_')}_{line.index}", "custom_id": line.custom_id}
