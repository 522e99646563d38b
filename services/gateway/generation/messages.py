"""The messages that ask the cluster for a generation: Submit and Finish for the router, Start for a worker."""

from services.gateway.domain.account import Caller, Limits
from services.gateway.domain.generation import Generation
from services.gateway.domain.prompt import BLOCK_TOKENS
from services.gateway.generation.progress import Progress
from services.gateway.generation.retry import Retries, VersionRule
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2


def submit(generation: Generation, retries: Retries, progress: Progress, *, timeout_s: float) -> router_pb2.Submit:
    """Asks the router for a worker.

    A later attempt goes to the head of its class, since the request had its turn, and away from workers that failed
    it. An answer that has begun needs a worker with the same model version, unless the last worker changed its weights.
    The client waits `timeout_s` seconds longer for the whole answer.
    """
    cost = generation.cost
    return router_pb2.Submit(
        request_id=generation.id,
        attempt=retries.attempt,
        pool=generation.model.pool,
        service_class=generation.service_class.proto,
        tenant=generation.caller.tenant,
        weight=generation.caller.weight,
        limits=_limits(generation.caller),
        cost=router_pb2.Cost(prompt_tokens=cost.prompt_tokens, completion_tokens=cost.completion_tokens),
        timeout_ms=_milliseconds(timeout_s),
        block_hashes=generation.block_hashes,
        block_tokens=BLOCK_TOKENS,
        adapter=generation.model.adapter,
        canary=generation.wants_canary,
        model_version=progress.version if progress.begun and retries.version_rule is not VersionRule.ANY else "",
        model_version_optional=retries.version_rule is VersionRule.PREFERRED,
        at_head=retries.attempt > 1,
        excluded_workers=retries.excluded,
        engine_deaths=retries.engine_deaths,
    )


def start(
    generation: Generation,
    grant: router_pb2.Grant,
    stream_id: int,
    progress: Progress,
    *,
    timeout_s: float,
    credit_tokens: int,
    hold_back: worker_pb2.HoldBack | None,
) -> worker_pb2.Start:
    """Asks the worker that the grant names to begin.

    Args:
        generation: the request.
        grant: the router's, for the current attempt.
        stream_id: names the request on the stream that this gateway shares with the worker.
        progress: how far the answer has come on earlier workers.
        timeout_s: how long the client still waits for the whole answer.
        credit_tokens: how many tokens the worker may send before it hears more.
        hold_back: what of the answer may wait; None: nothing may.
    """
    message = worker_pb2.Start(
        stream_id=stream_id,
        request_id=generation.id,
        attempt=grant.attempt,
        model_version=grant.model_version,
        adapter=generation.model.adapter,
        sampling=generation.sampling,
        timeout_ms=_milliseconds(timeout_s),
        credit_tokens=credit_tokens,
        priority=int(generation.service_class),
        cache_salt=generation.cache_salt,
        resume=progress.resume_points(),
        hold_back=hold_back,
    )
    if progress.adapter_version and progress.begun:
        message.adapter_version = progress.adapter_version
    match generation.prompt:
        case str():
            message.text = generation.prompt
        case worker_pb2.TokenIds():
            message.token_ids.CopyFrom(generation.prompt)
        case worker_pb2.Inputs():
            message.inputs.CopyFrom(generation.prompt)
        case _:
            message.chat.CopyFrom(generation.prompt)
    return message


def finish(
    generation: Generation,
    attempt: int,
    outcome: router_pb2.Outcome.ValueType,
    usage: worker_pb2.Usage,
    served: router_pb2.Served | None = None,
) -> router_pb2.Finish:
    """Tells the router that an attempt is over, what it really cost, and what it says about the version."""
    return router_pb2.Finish(
        request_id=generation.id,
        attempt=attempt,
        pool=generation.model.pool,
        outcome=outcome,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.completion_tokens,
        served=served,
    )


def _limits(caller: Caller) -> list[router_pb2.Limit]:
    limits = caller.limits
    if limits == Limits():
        return []
    return [
        router_pb2.Limit(
            name=f"key:{caller.key_id}",
            requests_per_minute=limits.requests_per_minute or 0,
            tokens_per_minute=limits.tokens_per_minute or 0,
            concurrency=limits.concurrency or 0,
        )
    ]


def _milliseconds(seconds: float) -> int:
    """At least 1: 0 means no limit on the wire."""
    return max(1, int(seconds * 1000))
