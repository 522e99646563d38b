"""A pool of pretended workers, for rollouts in simulated time: they change, are replaced, fail, die and come back."""

from dataclasses import dataclass, replace

from services.router.core.gate import Verdict
from services.router.core.rollout import Ending, Order, Request, advance, begin, orders, start_of
from services.router.core.rollout_policy import Policy
from services.router.core.rollout_record import Member, Outcome, RolloutRecord
from services.router.core.rollout_turn import Timeouts

OLD, NEW = "old", "new"
TICK_MS = 500
PATIENCE = Timeouts(turn_ms=20_000, absence_ms=2_000)


@dataclass
class PretendedPool:
    """Workers, and the record that brings them to NEW.

    Attributes:
        members: By worker id.
        starts: Version that each request started on, in order.
        told: Processes that were idle when the last orders were sent, and are told to change.
    """

    record: RolloutRecord
    members: dict[str, Member]
    starts: list[str]
    now_ms: int = 0
    told: frozenset[str] = frozenset()

    @classmethod
    def of_size(cls, size: int, policy: Policy, before: RolloutRecord | None = None) -> "PretendedPool":
        members = {f"w{n}": Member(f"w{n}", 1, "ready", OLD) for n in range(size)}
        record = begin("ro", Request(NEW, policy=policy), list(members.values()), before, now_ms=0)
        return cls(record, members, [])

    def tick(self, verdict: Verdict | None = None, *, is_sent: bool = True) -> None:
        """Time passes, requests start, and a router replica carries the rollout on. Its orders reach their workers."""
        self.now_ms += TICK_MS
        self.start_requests()
        members = list(self.members.values())
        self.record = advance(self.record, members, now_ms=self.now_ms, timeouts=PATIENCE, verdict=verdict)
        idle = {m.process for m in members if m.outcome is not Outcome.UNDER_WAY}
        told = orders(self.record, members)
        self.told = frozenset(idle & {self.members[order.worker_id].process for order in told})
        if is_sent:
            self.send(self.record)
        self.start_requests()

    def send(self, record: RolloutRecord) -> None:
        """A replica sends the orders of a record. It may be an old one."""
        for order in orders(record, list(self.members.values())):
            self._hear(order)

    def start_requests(self) -> None:
        """One request starts on each worker that may have one."""
        for member in self.members.values():
            if member.state == "ready" and self.record.admits in ("", member.version):
                self.starts.append(member.version)

    def finish(self, worker_id: str, outcome: Outcome = Outcome.COMMITTED) -> None:
        """The worker ends what it was asked for, if it was asked for anything."""
        member = self.members.get(worker_id)
        if member is None or member.outcome is not Outcome.UNDER_WAY or member.state not in ("swapping", "loading"):
            return
        version = member.version
        if outcome is Outcome.COMMITTED:
            version = NEW if member.delivery_id.endswith("forth") else OLD
        # A worker that cannot start on a version ends, and starts again.
        if outcome is Outcome.FAILED and member.state == "loading":
            self.restart(worker_id)
            return
        self.members[worker_id] = replace(member, version=version, state="ready", outcome=outcome, reason=outcome.value)

    def lose(self, worker_id: str) -> None:
        """The worker is gone."""
        self.members.pop(worker_id, None)

    def restart(self, worker_id: str) -> None:
        """The worker's next process attaches, and loads what it is told to."""
        epoch = self.members[worker_id].epoch + 1 if worker_id in self.members else self.now_ms + 2
        start = start_of(self.record, worker_id, epoch)
        member = Member(worker_id, epoch, "loading", "")
        if start.delivery_id:
            member = replace(member, delivery_id=start.delivery_id, outcome=Outcome.UNDER_WAY)
        else:
            member = replace(member, state="ready", version=start.version or OLD)
        self.members[worker_id] = member

    def settle(self, ticks: int, verdict: Verdict | None = None) -> None:
        """From here on every worker does what it is asked for, at once. Ends with the rollout."""
        for _ in range(ticks):
            for worker_id, member in list(self.members.items()):
                if member.state == "draining":
                    self.restart(worker_id)
                elif member.state == "detached":
                    self.members[worker_id] = replace(member, state="ready")
                self.finish(worker_id)
            self.tick(verdict)
            if self.record.state.has_ended:
                return

    def _hear(self, order: Order | Ending) -> None:
        member = self.members[order.worker_id]
        if isinstance(order, Ending):
            self.members[order.worker_id] = replace(member, state="draining")
        else:
            self.members[order.worker_id] = replace(
                member, state="swapping", delivery_id=order.delivery_id, outcome=Outcome.UNDER_WAY
            )
