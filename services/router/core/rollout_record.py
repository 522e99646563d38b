"""The record of a rollout, and what it knows of the pool's workers."""

from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any

from services.router.core.rollout_policy import ONE_BY_ONE, Kind, Policy, Step

MAX_REASON = 2_000


class State(StrEnum):
    """Where a rollout is."""

    ROLLING = "rolling"
    UNDOING = "undoing"
    DONE = "done"
    FAILED = "failed"

    @property
    def has_ended(self) -> bool:
        """Whether the rollout is done or failed."""
        return self in (State.DONE, State.FAILED)


class Outcome(StrEnum):
    """How a worker's weight update went."""

    UNDER_WAY = "under way"
    NEEDS_RESTART = "needs restart"
    COMMITTED = "committed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Member:
    """One worker of the pool. The last three fields are about the last weight update that its process was asked for."""

    worker_id: str
    epoch: int
    state: str
    version: str
    delivery_id: str = ""
    outcome: Outcome | None = None
    reason: str = ""

    @property
    def process(self) -> str:
        """Names the worker's process: it changes when the worker is started again."""
        return f"{self.worker_id}/{self.epoch}"


@dataclass(frozen=True, slots=True)
class Turn:
    """A worker's turn to change.

    Attributes:
        process: The process whose turn it is.
        began_ms: When its turn began.
        absent_since_ms: When that process was first missing among the pool's workers, or 0.
        replaced: The process that ends in this turn, so that the worker starts on the goal; or "". Once the worker is
            back, the turn is that of its new process.
    """

    process: str
    began_ms: int
    absent_since_ms: int = 0
    replaced: str = ""

    @property
    def worker_id(self) -> str:
        """The worker of the process."""
        return worker_of(self.process)

    def text(self) -> str:
        """For the record in Redis; `of_text` reads it. Names of workers have no comma."""
        return f"{self.process},{self.began_ms},{self.absent_since_ms},{self.replaced}"

    @classmethod
    def of_text(cls, text: str) -> "Turn":
        """Raises ValueError for what `text` has not written."""
        process, began_ms, absent_since_ms, replaced = text.split(",")
        return cls(process, int(began_ms), int(absent_since_ms), replaced)


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """The state of a rollout. Times are in milliseconds.

    Attributes:
        previous: The version that the pool served before, or "".
        turns: Whose turn it is.
        stranded: Processes that could not be brought to the goal. They are left as they are.
        revision: Grows with every change.
        policy: How the rollout goes through the pool.
        step: The step of a canary, from 0.
        step_since_ms: When the workers of this step had all changed, or 0.
        paused_ms: Since when an operator has it paused, or 0.
        paused_by: Who paused it, and why.
        admits: The version that requests may start on; "" for any.
        who: Who started it.
        why: Why, as that person says.
        mode: What workers do with requests that run when their weights change; "" in the record of an earlier release:
            what the pool's setting says.
    """

    rollout_id: str
    target: str
    previous: str
    started_ms: int
    finish_timeout_ms: int = 0
    state: State = State.ROLLING
    reason: str = ""
    turns: tuple[Turn, ...] = ()
    stranded: tuple[str, ...] = ()
    ended_ms: int = 0
    revision: int = 1
    policy: Policy = ONE_BY_ONE
    step: int = 0
    step_since_ms: int = 0
    paused_ms: int = 0
    paused_by: str = ""
    admits: str = ""
    who: str = ""
    why: str = ""
    mode: str = ""

    @property
    def goal(self) -> str:
        """The version that workers are brought to now; "" when there is no known version to go back to."""
        return self.target if self.state in (State.ROLLING, State.DONE) else self.previous

    @property
    def delivery_id(self) -> str:
        """Names the weight update that workers are asked for now."""
        return f"{self.rollout_id}-{'forth' if self.goal == self.target else 'back'}"

    @property
    def canary(self) -> str:
        """The version that is on trial, or ""."""
        return self.target if self.policy.kind is Kind.CANARY and self.state is State.ROLLING else ""

    @property
    def admits_goal_only(self) -> bool:
        """Whether requests start on the goal only."""
        return self.admits == self.goal

    def turn_of(self, process: str) -> Turn | None:
        """The turn of a process, if it has one."""
        return next((turn for turn in self.turns if turn.process == process), None)

    def with_turn(self, turn: Turn, changed: Turn | None) -> "RolloutRecord":
        """The record with a turn changed, or ended if `changed` is None."""
        turns = (changed if one is turn else one for one in self.turns)
        return replace(self, turns=tuple(one for one in turns if one))

    def to_hash(self) -> dict[str, str]:
        """The record as fields of a Redis hash.

        A replica of an earlier release reads the first turn from fields of its own, and knows no policies.
        """
        first = self.turns[0] if self.turns else Turn("", 0)
        written = {name: str(value) for name, value in asdict(self).items() if name not in ("turns", "policy")}
        return written | {
            "stranded": " ".join(self.stranded),
            "turns": " ".join(turn.text() for turn in self.turns),
            "turn": first.process,
            "turn_began_ms": str(first.began_ms),
            "absent_since_ms": str(first.absent_since_ms),
            "replaced": first.replaced,
            "policy": self.policy.kind,
            "at_once": str(self.policy.at_once),
            "steps": " ".join(step.text() for step in self.policy.steps),
            "max_wait_ms": str(self.policy.max_wait_ms),
            "canary": self.canary,
        }

    @classmethod
    def of_hash(cls, stored: dict[str, str]) -> "RolloutRecord":
        """Reads the fields of a Redis hash. A replica of an earlier release leaves out those that it does not know."""
        values: dict[str, Any] = {f.name: stored[f.name] for f in fields(cls) if f.name in stored}
        values.update({name: int(stored[name]) for name in _NUMBERS if name in stored})
        values.update(
            state=State(stored["state"]),
            stranded=tuple(stored["stranded"].split()),
            turns=_turns(stored),
            policy=_policy(stored),
        )
        return cls(**values)


_NUMBERS = ("started_ms", "finish_timeout_ms", "ended_ms", "revision", "step", "step_since_ms", "paused_ms")


def _turns(stored: dict[str, str]) -> tuple[Turn, ...]:
    if "turns" in stored:
        return tuple(map(Turn.of_text, stored["turns"].split()))
    if not stored["turn"]:
        return ()
    began_ms, absent_ms = int(stored["turn_began_ms"]), int(stored["absent_since_ms"])
    return (Turn(stored["turn"], began_ms, absent_ms, stored.get("replaced", "")),)


def _policy(stored: dict[str, str]) -> Policy:
    if "policy" not in stored:
        return ONE_BY_ONE
    steps = tuple(map(Step.of_text, stored["steps"].split()))
    return Policy(Kind(stored["policy"]), int(stored["at_once"]), steps, int(stored["max_wait_ms"]))


def worker_of(process: str) -> str:
    """The worker that a process is of."""
    return process.rpartition("/")[0]
