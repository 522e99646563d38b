"""How a rollout is asked for: the policy of a pool, as the request changes it."""

from collections.abc import Sequence
from dataclasses import replace

from services.router.core.rollout_policy import Kind, Policy, Step
from services.shared.rollout_settings import MAX_STEPS, RolloutSettings
from tidegate.router.v1 import router_pb2 as pb

_KINDS = {
    pb.ROLLOUT_POLICY_ROLLING: Kind.ROLLING,
    pb.ROLLOUT_POLICY_CANARY: Kind.CANARY,
    pb.ROLLOUT_POLICY_ALL_AT_ONCE: Kind.ALL_AT_ONCE,
}
_HOLD_MS = 60_000
_MAX_MS = 86_400_000
_MAX_WORKERS = 4_096


def policy_of(request: pb.StartRolloutRequest, settings: RolloutSettings) -> Policy:
    """The policy of one rollout.

    Args:
        request: What an operator asks for.
        settings: The section `rollout` of the pool.

    Raises:
        ValueError: The request contradicts itself; the message says how.
    """
    if request.speculator:
        return _of_speculator(request, settings)
    kind = _KINDS.get(request.policy) or (Kind.CANARY if request.steps else None)
    policy = Policy.of_settings(settings, kind)
    if request.without_steps:
        policy = replace(policy, kind=Kind.ROLLING if policy.kind is Kind.CANARY else policy.kind, steps=())
    if request.steps:
        policy = _stepping(policy, request.steps)
        if not request.HasField("observe_ms") and settings.observe_s is None:
            policy = policy.observing(0)
    if request.HasField("hold_ms"):
        if policy.kind is not Kind.CANARY:
            raise ValueError(f"a hold and the policy {policy.kind}: only the steps of a canary hold")
        policy = policy.holding(_time("a hold", request.hold_ms))
    if request.HasField("observe_ms"):
        if policy.kind is Kind.ALL_AT_ONCE and request.observe_ms:
            raise ValueError("an observation and the policy all_at_once: no worker of the old version would be left")
        policy = policy.observing(_time("an observation", request.observe_ms))
    return replace(policy, at_once=request.at_once) if request.at_once else policy


def _of_speculator(request: pb.StartRolloutRequest, settings: RolloutSettings) -> Policy:
    """Worker by worker: no text changes, so there are no sides to compare, and nothing changes over."""
    asked = request.policy not in (pb.ROLLOUT_POLICY_UNSPECIFIED, pb.ROLLOUT_POLICY_ROLLING)
    if asked or request.steps or request.HasField("hold_ms") or request.HasField("observe_ms"):
        raise ValueError(
            "a speculator is rolled out worker by worker: it has no other policy, steps, holds or observation"
        )
    policy = Policy.of_settings(settings, Kind.ROLLING).observing(0)
    return replace(policy, at_once=request.at_once) if request.at_once else policy


def _stepping(policy: Policy, steps: Sequence[pb.CanaryStep]) -> Policy:
    if policy.kind is not Kind.CANARY:
        raise ValueError(f"steps and the policy {policy.kind}: only a canary has steps")
    if len(steps) > MAX_STEPS:
        raise ValueError(f"{len(steps)} steps: a canary has at most {MAX_STEPS}")
    return policy.stepping(list(map(_step, steps)))


def _step(step: pb.CanaryStep) -> Step:
    hold_ms = _time("a hold", step.hold_ms) if step.HasField("hold_ms") else _HOLD_MS
    if step.WhichOneof("size") == "share":
        if not 0 < step.share <= 1:
            raise ValueError(f"a step of {step.share:g} of the pool: a share is more than 0 and at most 1")
        return Step(share=step.share, hold_ms=hold_ms)
    if not 1 <= step.workers <= _MAX_WORKERS:
        raise ValueError(f"a step of {step.workers} workers: it has 1 to {_MAX_WORKERS:,}")
    return Step(replicas=step.workers, hold_ms=hold_ms)


def _time(what: str, ms: int) -> int:
    if ms > _MAX_MS:
        raise ValueError(f"{what} of {ms / 1000:g} s: it is at most {_MAX_MS // 1000} s")
    return ms
