"""The invariants of generated requests: proper responses and clean errors, and never a failure of the server. Pure."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from tests.robustness.inputs.http_cases import HINT
from tests.robustness.inputs.sender import HttpResponse, RpcResponse
from tidegate.inference.v1 import inference_pb2

SHOWN = 20
# Words of the library that validates. Clients see plain sentences.
JARGON = re.compile(rb"pydantic|Input should|Field required|Extra inputs|[Tt]uple|[Dd]ictionary")
TRACE = re.compile(rb'Traceback \(most|File "/|site-packages|\.py", line')
# Errors that are about a field, so they name it.
OF_A_FIELD = frozenset(
    {
        *("invalid_value", "missing_required_parameter", "unknown_parameter", "unsupported_parameter"),
        *("unsupported_value", "context_length_exceeded"),
    }
)
NAMELESS = "Invalid request: "
CAPPED = ", ..."
"""So the header ends that names as much as it may. A field without a name may be named too."""
FIELDS = {"message", "type", "param", "code"}
ANTHROPIC = "/v1/messages"
ANTHROPIC_FIELDS = {"message", "type"}
ENDINGS = ("response.completed", "response.incomplete", "message_stop")
CLEAN = frozenset(
    {
        *("OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"),
        *("PERMISSION_DENIED", "UNAUTHENTICATED"),
    }
)


@dataclass(frozen=True, slots=True)
class Report:
    """http, rpc: how often each status was returned."""

    http: Counter[int]
    rpc: Counter[str]
    violations: list[str]

    @property
    def cases(self) -> int:
        return self.http.total() + self.rpc.total()

    def __str__(self) -> str:
        shown = "".join(f"\n  {violation}" for violation in self.violations[:SHOWN])
        return (
            f"{self.cases} cases; REST {dict(sorted(self.http.items()))}, gRPC {dict(sorted(self.rpc.items()))}; "
            f"{len(self.violations)} violations{shown}"
        )


def check(http: Iterable[HttpResponse], rpc: Iterable[RpcResponse], leaked: Iterable[str]) -> Report:
    """Checks every response. leaked: what the cases left behind in the cluster, in words."""
    http, rpc = list(http), list(rpc)
    violations = [f"{violation}: {response.case}" for response in http if (violation := _of_http(response))]
    violations += [f"{violation}: {response.case}" for response in rpc if (violation := _of_rpc(response))]
    return Report(
        Counter(response.status for response in http),
        Counter(response.code for response in rpc),
        violations + [f"left behind: {leak}" for leak in leaked],
    )


def _of_http(response: HttpResponse) -> str | None:
    if response.error:
        return response.error
    if response.status >= 500:
        return f"{response.status} {response.body[:500]!r}"
    if TRACE.search(response.body) and response.case.target != "/openapi.json":
        return f"{response.status} with a stack trace {response.body[:500]!r}"
    if response.case.method == "HEAD":
        return f"{response.status} of HEAD with a body" if response.body else None
    if response.status >= 400:
        return _of_error(response)
    if response.case.hinted and HINT not in response.ignored and not response.ignored.endswith(CAPPED):
        return f"{response.status} that does not name the hint, but {response.ignored!r}"
    return _of_stream(response.body) if response.media.startswith("text/event-stream") else None


def _of_error(response: HttpResponse) -> str | None:
    fields = ANTHROPIC_FIELDS if ANTHROPIC in response.case.target else FIELDS
    if not _has_error_object(response.body, fields):
        return f"{response.status} without an error object {response.body[:500]!r}"
    if HINT.encode() in response.body:
        return f"{response.status} because of a hint {response.body[:500]!r}"
    if JARGON.search(response.body):
        return f"{response.status} in the library's words {response.body[:500]!r}"
    error = orjson.loads(response.body)["error"]
    if error["message"].startswith(NAMELESS) or (
        error.get("code") in OF_A_FIELD and "param" in error and error["param"] is None
    ):
        return f"{response.status} that names no field {response.body[:500]!r}"
    return None


def _of_stream(body: bytes) -> str | None:
    """A stream that has begun can report a failure only in its last event."""
    last = [line for line in body.split(b"\n") if line.startswith(b"data: ")][-1:]
    if not last:
        return f"a stream without an event {body[-500:]!r}"
    if last[0] == b"data: [DONE]":
        return None
    event = orjson.loads(last[0].removeprefix(b"data: "))
    ended = event.get("type") in ENDINGS
    return None if ended else f"a stream that failed {last[0][:500]!r}"


def _has_error_object(body: bytes, fields: set[str]) -> bool:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    error = document.get("error") if isinstance(document, dict) else None
    return isinstance(error, dict) and set(error) == fields and bool(error["message"]) and bool(error["type"])


def _of_rpc(response: RpcResponse) -> str | None:
    if response.code not in CLEAN:
        return f"{response.code} {response.text[:500]!r}"
    if response.code == "OK":
        return None
    if response.detail is None:
        return f"{response.code} without an OpenAIError {response.text[:500]!r}"
    error = inference_pb2.OpenAIError.FromString(response.detail)
    return None if error.message and error.type else f"{response.code} with an empty OpenAIError"
