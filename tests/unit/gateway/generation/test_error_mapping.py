from services.gateway.domain.generation import FieldNames
from services.gateway.generation.error_mapping import failed, rejected
from services.shared.errors import ContextLengthExceeded, InternalError, QueueFull, RateLimited, TidegateError
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2


def refusal(reject: router_pb2.Reject, tokens: int = 10) -> TidegateError:
    return rejected(reject, "m", tokens)


def limited(retry_after_ms: int, **state: int) -> router_pb2.Reject:
    return router_pb2.Reject(
        reason=router_pb2.REJECT_REASON_RATE_LIMITED,
        retry_after_ms=retry_after_ms,
        limit_name="key:1",
        limits=[router_pb2.LimitState(name="other"), router_pb2.LimitState(name="key:1", **state)],
    )


def test_failures_of_the_request_and_of_the_worker() -> None:
    asked_too_much = worker_pb2.Failure(kind=worker_pb2.FAILURE_KIND_CONTEXT_LENGTH, message="m", param="prompt")
    error = failed(asked_too_much, FieldNames("messages"))
    assert isinstance(error, ContextLengthExceeded)
    assert error.param == "messages"
    for kind in (worker_pb2.FAILURE_KIND_DRAINING, worker_pb2.FAILURE_KIND_ENGINE, worker_pb2.FAILURE_KIND_UNSPECIFIED):
        assert failed(worker_pb2.Failure(kind=kind), FieldNames()) is None


def test_an_error_names_the_field_as_the_api_of_the_request_does() -> None:
    def named(param: str, fields: FieldNames) -> str | None:
        error = failed(worker_pb2.Failure(kind=worker_pb2.FAILURE_KIND_INVALID, param=param), fields)
        assert error is not None
        return error.param

    responses = FieldNames("input", "max_output_tokens")
    for param, name in (("prompt", "input"), ("messages", "input"), ("max_tokens", "max_output_tokens")):
        assert named(param, responses) == name
    assert named("top_p", responses) == "top_p"
    assert named("", responses) is None
    assert named("prompt", FieldNames("messages")) == "messages"
    too_long = failed(worker_pb2.Failure(kind=worker_pb2.FAILURE_KIND_CONTEXT_LENGTH), responses)
    assert too_long is not None
    assert too_long.param == "input"


def test_every_rejection_has_its_error() -> None:
    for reason in router_pb2.RejectReason.values():
        assert refusal(router_pb2.Reject(reason=reason)).wire.http >= 400
    full = refusal(router_pb2.Reject(reason=router_pb2.REJECT_REASON_QUEUE_FULL, retry_after_ms=2500))
    assert isinstance(full, QueueFull)
    assert full.retry_after_s == 2.5
    assert refusal(router_pb2.Reject(reason=router_pb2.REJECT_REASON_NO_WORKERS)).retry_after_s
    assert isinstance(refusal(router_pb2.Reject(reason=router_pb2.REJECT_REASON_STALE_ATTEMPT)), InternalError)


def test_a_rate_limit_error_names_the_limit_and_when_to_retry() -> None:
    requests = refusal(limited(1500, requests_limit=60, tokens_limit=100, tokens_remaining=50))
    assert isinstance(requests, RateLimited)
    assert requests.retry_after_s == 1.5
    assert requests.message == "Rate limit reached for m on requests per minute: Limit 60. Please try again in 1.5s."
    tokens = refusal(limited(20, requests_limit=60, requests_remaining=9, tokens_limit=100, tokens_remaining=5))
    assert "on tokens per minute: Limit 100, Remaining 5, Requested 10" in tokens.message
    assert "on requests at once" in refusal(limited(1000, tokens_limit=100, tokens_remaining=50)).message


def test_a_request_that_never_fits_has_no_retry_after() -> None:
    never = refusal(limited(0, tokens_limit=100), tokens=200)
    assert never.message == "Request too large for m on tokens per minute: Limit 100, Requested 200."
    assert never.wire.http == 429
    assert never.retry_after_s is None
