"""The invariant checker of generated requests finds each kind of violation."""

import pytest

from tests.robustness.inputs.http_cases import HttpCase
from tests.robustness.inputs.invariant_checker import check
from tests.robustness.inputs.rpc_cases import RpcCase
from tests.robustness.inputs.sender import HttpResponse, RpcResponse
from tidegate.inference.v1 import inference_pb2

HINTED = HttpCase("POST", "/v1/chat/completions", (), b"{}", hinted=True)
HTTP = HttpCase("POST", "/v1/chat/completions", (), b"{}")
MESSAGE = HttpCase("POST", "/v1/messages", (), b"{}")
HEAD = HttpCase("HEAD", "/v1/models", (), b"")
RPC = RpcCase("Chat", b"")
SSE = "text/event-stream; charset=utf-8"
SHAPE = b'{"error": {"message": "no", "type": "t", "param": null, "code": null}}'
ANTHROPIC_SHAPE = b'{"type": "error", "error": {"type": "t", "message": "no"}, "request_id": "a"}'
DETAIL = inference_pb2.OpenAIError(message="no", type="t").SerializeToString()


def test_proper_responses_and_clean_errors_are_no_violations() -> None:
    http = [
        HttpResponse(HTTP, 200, "application/json", b"{}"),
        HttpResponse(HTTP, 200, SSE, b'data: {"choices": []}\n\ndata: [DONE]\n\n'),
        HttpResponse(HTTP, 400, "application/json", SHAPE),
        HttpResponse(HEAD, 404, "application/json"),
        HttpResponse(MESSAGE, 400, "application/json", ANTHROPIC_SHAPE),
        HttpResponse(MESSAGE, 200, SSE, b'event: message_stop\ndata: {"type": "message_stop"}\n\n'),
        HttpResponse(HINTED, 200, "application/json", b"{}", "messages[0].tidal_hint, tidal_hint"),
        HttpResponse(HINTED, 200, "application/json", b"{}", "a, b, ..."),
    ]
    report = check(http, [RpcResponse(RPC, "OK"), RpcResponse(RPC, "NOT_FOUND", "no", DETAIL)], ())
    assert not report.violations
    assert report.cases == 10


@pytest.mark.parametrize(
    "response",
    [
        HttpResponse(HTTP, 500, "application/json", SHAPE),
        HttpResponse(HTTP, 404, "application/json", b'{"detail": "Not Found"}'),
        HttpResponse(HTTP, 422, "text/plain", b"no"),
        HttpResponse(HINTED, 200, "application/json", b"{}", "user"),
        HttpResponse(HINTED, 400, "application/json", SHAPE.replace(b"no", b"Unknown parameter: 'tidal_hint'.")),
        HttpResponse(HTTP, 400, "application/json", SHAPE.replace(b"no", b"Input should be a valid string.")),
        HttpResponse(HTTP, 400, "application/json", ANTHROPIC_SHAPE),
        HttpResponse(MESSAGE, 400, "application/json", SHAPE),
        HttpResponse(MESSAGE, 200, SSE, b"event: error\ndata: " + ANTHROPIC_SHAPE + b"\n\n"),
        HttpResponse(HTTP, 400, "application/json", SHAPE.replace(b"no", b"Invalid request: no")),
        HttpResponse(HTTP, 400, "application/json", SHAPE.replace(b'"code": null', b'"code": "invalid_value"')),
        HttpResponse(MESSAGE, 400, "application/json", ANTHROPIC_SHAPE.replace(b"no", b"Invalid request: no")),
        HttpResponse(HTTP, 200, "text/plain", b'Traceback (most recent call last):\n  File "/x.py", line 1'),
        HttpResponse(HEAD, 404, "application/json", SHAPE),
        HttpResponse(HTTP, error="ReadTimeout()"),
        HttpResponse(HTTP, 200, SSE, b""),
        HttpResponse(HTTP, 200, SSE, b"data: " + SHAPE + b"\n\n"),
    ],
)
def test_http_violations(response: HttpResponse) -> None:
    assert len(check([response], (), ()).violations) == 1


@pytest.mark.parametrize(
    "response",
    [
        RpcResponse(RPC, "UNKNOWN", "no", DETAIL),
        RpcResponse(RPC, "INTERNAL", "no", DETAIL),
        RpcResponse(RPC, "INVALID_ARGUMENT", "no"),
        RpcResponse(RPC, "INVALID_ARGUMENT", "no", b""),
    ],
)
def test_rpc_violations(response: RpcResponse) -> None:
    assert len(check((), [response], ()).violations) == 1


def test_a_leak_is_a_violation() -> None:
    assert check((), (), ["a slot"]).violations == ["left behind: a slot"]
