"""What the router and the worker are told of a generation."""

import pytest

from services.gateway.domain.account import Caller, Limits
from services.gateway.domain.catalog import Model
from services.gateway.domain.generation import Generation, Prompt
from services.gateway.domain.prompt import Cost
from services.gateway.generation import messages
from services.gateway.generation.progress import Progress
from services.gateway.generation.retry import FailureCause, Retries, WorkerFailed
from services.shared.classes import ServiceClass
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2

ANYBODY = Caller("key", "t", "inference")
NOTHING = Progress(choices_expected=1)


def generation(
    caller: Caller = ANYBODY,
    prompt: Prompt = "hi",
    *,
    sampling: worker_pb2.Sampling | None = None,
    stream: bool = False,
    objectives_s: tuple[float, ...] = (),
) -> Generation:
    return Generation(
        id="cmpl-ab",
        created=5,
        model=Model("m:fr", "m", "fr", 100, 0, objectives_s),
        prompt=prompt,
        sampling=sampling or worker_pb2.Sampling(max_tokens=10),
        tier_asked="flex",
        service_class=ServiceClass.FLEX,
        cost=Cost(3, 20),
        block_hashes=[7],
        caller=caller,
        cache_salt="salt",
        stream=stream,
        include_usage=False,
        timeout_s=60.0,
    )


def submit(caller: Caller = ANYBODY, retries: Retries | None = None, progress: Progress = NOTHING) -> router_pb2.Submit:
    return messages.submit(generation(caller), retries or Retries(), progress, timeout_s=1.5)


def test_the_router_is_told_what_to_queue() -> None:
    message = submit()
    assert (message.request_id, message.pool, message.adapter) == ("cmpl-ab", "m", "fr")
    assert (message.attempt, message.timeout_ms, message.at_head, message.model_version) == (1, 1500, False, "")
    assert (message.cost.prompt_tokens, message.cost.completion_tokens) == (3, 20)
    assert list(message.block_hashes) == [7]


def test_the_router_is_told_the_tenant_and_the_limits_of_the_key() -> None:
    message = submit(Caller("key_1", "acme", "inference", weight=2.5, limits=Limits(requests_per_minute=60)))
    assert (message.tenant, message.weight) == ("acme", 2.5)
    assert [(limit.name, limit.requests_per_minute, limit.tokens_per_minute) for limit in message.limits] == [
        ("key:key_1", 60, 0)
    ]
    assert not submit().limits


def test_a_next_attempt_goes_to_the_head_and_elsewhere() -> None:
    retries = Retries()
    retries.after(WorkerFailed("engine", FailureCause.ENGINE_DIED, worker_id="w1"), NOTHING)
    message = submit(retries=retries)
    assert (message.attempt, message.at_head) == (2, True)
    assert (list(message.excluded_workers), message.engine_deaths) == (["w1"], 1)


def test_an_answer_that_has_begun_needs_the_same_version() -> None:
    progress = Progress(choices_expected=1)
    progress.start(worker_pb2.Started(model_version="v1", prompt_tokens=3, resumable=True))
    assert submit(progress=progress).model_version == ""
    progress.take(worker_pb2.Delta(token_ids=[7], text_end=1))
    assert submit(progress=progress).model_version == "v1"


@pytest.mark.parametrize(
    ("cause", "version", "optional"), [(FailureCause.RECOMPUTE, "", False), (FailureCause.HAND_OVER, "v1", True)]
)
def test_an_answer_whose_worker_changes_its_weights_may_cross_versions(
    cause: FailureCause, version: str, optional: bool
) -> None:
    """Also when a further worker is lost: the version that went on may leave the pool in the same rollout."""
    progress, retries = Progress(choices_expected=1), Retries()
    progress.start(worker_pb2.Started(model_version="v1", resumable=True))
    progress.take(worker_pb2.Delta(token_ids=[7], text_end=1))
    retries.after(WorkerFailed("swap", cause, worker_id="w1", gained=True), progress)
    assert not submit(retries=retries, progress=progress).excluded_workers
    retries.after(WorkerFailed("lost", FailureCause.OTHER, worker_id="w2"), progress)
    message = submit(retries=retries, progress=progress)
    assert (message.model_version, message.model_version_optional) == (version, optional)
    progress.start(worker_pb2.Started(model_version="v2", resumable=True))
    progress.take(worker_pb2.Delta(token_ids=[8], text_end=2))
    retries.after(WorkerFailed("lost", FailureCause.OTHER, worker_id="w3", gained=True), progress)
    message = submit(retries=retries, progress=progress)
    assert (message.model_version, message.model_version_optional) == ("v2", True)


@pytest.mark.parametrize(
    ("prompt", "field"),
    [("hi", "text"), (worker_pb2.TokenIds(ids=[1]), "token_ids"), (worker_pb2.ChatPrompt(tools_json=b"[]"), "chat")],
)
def test_the_worker_is_told_what_to_generate(prompt: Prompt, field: str) -> None:
    grant = router_pb2.Grant(attempt=2, model_version="v1")
    point = worker_pb2.ResumePoint(token_ids=[7], text_offset=1)
    progress = Progress(choices_expected=1)
    progress.start(worker_pb2.Started(model_version="v1", adapter_version="a1"))
    progress.take(worker_pb2.Delta(token_ids=[7], text_end=1))
    message = messages.start(
        generation(prompt=prompt), grant, 9, progress, timeout_s=0.0, credit_tokens=256, hold_back=None
    )
    assert (message.stream_id, message.attempt, message.model_version) == (9, 2, "v1")
    assert (message.timeout_ms, message.credit_tokens, message.priority) == (1, 256, int(ServiceClass.FLEX))
    assert (message.cache_salt, message.adapter, message.sampling.max_tokens) == ("salt", "fr", 10)
    assert message.WhichOneof("prompt") == field
    assert getattr(message, field) == prompt
    assert list(message.resume) == [point]
    assert message.adapter_version == "a1"


def test_an_adapter_that_nothing_has_come_of_may_be_of_any_version() -> None:
    progress = Progress(choices_expected=1)
    progress.start(worker_pb2.Started(model_version="v1", adapter_version="a1"))
    message = messages.start(
        generation(), router_pb2.Grant(attempt=2), 9, progress, timeout_s=0.0, credit_tokens=256, hold_back=None
    )
    assert message.adapter_version == ""


def test_the_router_is_told_what_an_attempt_really_cost() -> None:
    usage = worker_pb2.Usage(prompt_tokens=9, cached_tokens=4, completion_tokens=5)
    message = messages.finish(generation(), 2, router_pb2.OUTCOME_COMPLETED, usage)
    assert (message.request_id, message.attempt, message.pool) == ("cmpl-ab", 2, "m")
    assert (message.prompt_tokens, message.cached_tokens, message.completion_tokens) == (9, 4, 5)
