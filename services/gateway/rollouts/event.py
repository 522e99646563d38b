"""One entry of the history of rollouts."""

from dataclasses import dataclass
from typing import Self

from services.shared.swap_mode import SwapMode
from tidegate.router.v1 import router_pb2 as pb


@dataclass(frozen=True, slots=True)
class RolloutEvent:
    """What happened in a rollout of a pool, as the routers say.

    Args:
        revision: of the pool's rollout record; with pool and rollout it names the event.
        at: seconds since 1970.
        event: such as started or step_reached.
        step: of a canary, from 1; 0: the policy has no steps.
        who: who wanted it; empty: the router.
        mode: what workers do with requests that run; empty: a router of an earlier release does not say.
    """

    pool: str
    rollout: str
    revision: int
    at: float
    event: str
    version: str
    previous_version: str
    policy: str
    step: int
    who: str
    why: str
    mode: str = ""

    @classmethod
    def of(cls, pool: str, event: pb.RolloutEvent) -> Self:
        """From the router's message."""
        return cls(
            pool=pool,
            rollout=event.rollout_id,
            revision=event.revision,
            at=event.at_ms / 1000,
            event=pb.RolloutEventKind.Name(event.kind).removeprefix("ROLLOUT_EVENT_KIND_").lower(),
            version=event.model_version,
            previous_version=event.previous_version,
            policy=pb.RolloutPolicy.Name(event.policy).removeprefix("ROLLOUT_POLICY_").lower(),
            step=event.step,
            who=event.who,
            why=event.why,
            mode=SwapMode.of_proto_name(pb.SwapMode.Name(event.mode)) or "",
        )
