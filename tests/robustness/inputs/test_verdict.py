"""The judge is itself tried: what it must not let pass."""

import pytest

from tests.robustness.inputs.http_cases import HttpCase
from tests.robustness.inputs.rpc_cases import RpcCase
from tests.robustness.inputs.traffic import HttpAnswer, RpcAnswer
from tests.robustness.inputs.verdict import judge
from tidegate.inference.v1 import inference_pb2

HTTP = HttpCase("POST", "/v1/chat/completions", (), b"{}")
RPC = RpcCase("Chat", b"")
SSE = "text/event-stream; charset=utf-8"
SHAPE = b'{"error": {"message": "no", "type": "t", "param": null, "code": null}}'
DETAIL = inference_pb2.OpenAIError(message="no", type="t").SerializeToString()


def test_clean_answers_and_refusals_pass() -> None:
    http = [
        HttpAnswer(HTTP, 200, "application/json", b"{}"),
        HttpAnswer(HTTP, 200, SSE, b'data: {"choices": []}\n\ndata: [DONE]\n\n'),
        HttpAnswer(HTTP, 400, "application/json", SHAPE),
    ]
    verdict = judge(http, [RpcAnswer(RPC, "OK"), RpcAnswer(RPC, "NOT_FOUND", "no", DETAIL)], ())
    assert not verdict.complaints
    assert verdict.cases == 5


@pytest.mark.parametrize(
    "answer",
    [
        HttpAnswer(HTTP, 500, "application/json", SHAPE),
        HttpAnswer(HTTP, 404, "application/json", b'{"detail": "Not Found"}'),
        HttpAnswer(HTTP, 422, "text/plain", b"no"),
        HttpAnswer(HTTP, trouble="ReadTimeout()"),
        HttpAnswer(HTTP, 200, SSE, b""),
        HttpAnswer(HTTP, 200, SSE, b"data: " + SHAPE + b"\n\n"),
    ],
)
def test_http_complaints(answer: HttpAnswer) -> None:
    assert len(judge([answer], (), ()).complaints) == 1


@pytest.mark.parametrize(
    "answer",
    [
        RpcAnswer(RPC, "UNKNOWN", "no", DETAIL),
        RpcAnswer(RPC, "INTERNAL", "no", DETAIL),
        RpcAnswer(RPC, "INVALID_ARGUMENT", "no"),
        RpcAnswer(RPC, "INVALID_ARGUMENT", "no", b""),
    ],
)
def test_rpc_complaints(answer: RpcAnswer) -> None:
    assert len(judge((), [answer], ()).complaints) == 1


def test_what_is_left_behind_is_a_complaint() -> None:
    assert judge((), (), ["a slot"]).complaints == ["left behind: a slot"]
