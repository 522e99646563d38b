"""What became of every case: clean answers, clean refusals, and complaints. Pure."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from tests.robustness.inputs.traffic import HttpAnswer, RpcAnswer
from tidegate.inference.v1 import inference_pb2

SHOWN = 20
FIELDS = {"message", "type", "param", "code"}
CLEAN = frozenset(
    {
        *("OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"),
        *("PERMISSION_DENIED", "UNAUTHENTICATED"),
    }
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """http, rpc: how often each status came."""

    http: Counter[int]
    rpc: Counter[str]
    complaints: list[str]

    @property
    def cases(self) -> int:
        return self.http.total() + self.rpc.total()

    def __str__(self) -> str:
        shown = "".join(f"\n  {complaint}" for complaint in self.complaints[:SHOWN])
        return (
            f"{self.cases} cases; REST {dict(sorted(self.http.items()))}, gRPC {dict(sorted(self.rpc.items()))}; "
            f"{len(self.complaints)} complaints{shown}"
        )


def judge(http: Iterable[HttpAnswer], rpc: Iterable[RpcAnswer], left: Iterable[str]) -> Verdict:
    """left: what the cases left behind in the cluster, in words."""
    http, rpc = list(http), list(rpc)
    complaints = [f"{said}: {answer.case}" for answer in http if (said := _of_http(answer))]
    complaints += [f"{said}: {answer.case}" for answer in rpc if (said := _of_rpc(answer))]
    return Verdict(
        Counter(answer.status for answer in http),
        Counter(answer.code for answer in rpc),
        complaints + [f"left behind: {what}" for what in left],
    )


def _of_http(answer: HttpAnswer) -> str | None:
    if answer.trouble:
        return answer.trouble
    if answer.status >= 500:
        return f"{answer.status} {answer.body[:500]!r}"
    if answer.status >= 400:
        return None if _has_shape(answer.body) else f"{answer.status} in a shape of its own {answer.body[:500]!r}"
    return _of_stream(answer.body) if answer.media.startswith("text/event-stream") else None


def _of_stream(body: bytes) -> str | None:
    """A stream that has begun can fail only by its last event."""
    last = [line for line in body.split(b"\n") if line.startswith(b"data: ")][-1:]
    if not last:
        return f"a stream without an event {body[-500:]!r}"
    if last[0] == b"data: [DONE]":
        return None
    event = orjson.loads(last[0].removeprefix(b"data: "))
    ended = event.get("type") in ("response.completed", "response.incomplete")
    return None if ended else f"a stream that failed {last[0][:500]!r}"


def _has_shape(body: bytes) -> bool:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    error = document.get("error") if isinstance(document, dict) else None
    return isinstance(error, dict) and set(error) == FIELDS and bool(error["message"]) and bool(error["type"])


def _of_rpc(answer: RpcAnswer) -> str | None:
    if answer.code not in CLEAN:
        return f"{answer.code} {answer.text[:500]!r}"
    if answer.code == "OK":
        return None
    if answer.detail is None:
        return f"{answer.code} without an OpenAIError {answer.text[:500]!r}"
    error = inference_pb2.OpenAIError.FromString(answer.detail)
    return None if error.message and error.type else f"{answer.code} with an empty OpenAIError"
