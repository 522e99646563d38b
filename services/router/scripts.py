"""The Lua scripts, one typed call each. The files under lua/ say what they guarantee."""

import re
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha1
from pathlib import Path

from services.router.keys import PoolKeys
from services.shared.classes import ServiceClass

_LUA = Path(__file__).parent / "lua"
_INCLUDE = re.compile(r"^-- @include (\w+)$", re.MULTILINE)


@dataclass(frozen=True)
class Script:
    name: str

    @cached_property
    def source(self) -> str:
        """The file with each of its includes in the place where it names it."""
        text = (_LUA / f"{self.name}.lua").read_text()
        return _INCLUDE.sub(lambda line: (_LUA / "include" / f"{line[1]}.lua").read_text(), text)

    @cached_property
    def sha(self) -> str:
        # SHA-1 is how Redis names scripts; nothing is secured by it.
        return sha1(self.source.encode(), usedforsecurity=False).hexdigest()


SUBMIT, FINISH, HEARTBEAT = Script("submit"), Script("finish"), Script("heartbeat")
DETACH, RENEW, REAP, RECORD = Script("detach"), Script("renew"), Script("reap"), Script("record")
SCRIPTS = (SUBMIT, FINISH, HEARTBEAT, DETACH, RENEW, REAP, RECORD)


@dataclass(frozen=True, slots=True)
class Call:
    """One script call, ready to be sent."""

    script: Script
    keys: list[str]
    args: list[str | int | bytes]


@dataclass(frozen=True, slots=True)
class Submission:
    """A request as the queue sees it. Times in milliseconds, KV in tokens."""

    session: str
    request_id: str
    attempt: int
    service_class: ServiceClass
    kv_tokens: int
    give_up_after_ms: int
    at_head: bool = False
    excluded_workers: tuple[str, ...] = ()
    model_version: str = ""
    running_on: str = ""
    running_epoch: int = 0


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """A heartbeat as the queue sees it; `heartbeat` is the whole frame, kept for operators."""

    worker_id: str
    epoch: int
    state: str
    slots: int
    kv_tokens: int
    model_version: str
    address: str
    heartbeat: bytes


@dataclass(frozen=True, slots=True)
class PoolScripts:
    """Builds the calls of one pool for one router replica."""

    keys: PoolKeys
    router_id: str

    def submit(self, s: Submission, *, lease_ms: int, cap: int, no_worker_grace_ms: int) -> Call:
        """`cap`: requests that may wait in the class."""
        excluded = "".join(f",{worker}" for worker in s.excluded_workers) + "," if s.excluded_workers else ""
        return self._call(
            SUBMIT,
            *(s.session, lease_ms, s.request_id, s.attempt, int(s.service_class), s.kv_tokens, s.give_up_after_ms),
            *(int(s.at_head), cap, excluded, s.model_version, s.running_on, s.running_epoch, no_worker_grace_ms),
        )

    def finish(self, request_id: str, attempt: int) -> Call:
        return self._call(FINISH, request_id, attempt)

    def heartbeat(self, w: WorkerReport, *, lease_ms: int) -> Call:
        return self._call(
            HEARTBEAT,
            *(w.worker_id, w.epoch, lease_ms, w.state, w.slots, w.kv_tokens, w.model_version, w.address, w.heartbeat),
        )

    def detach(self, worker_id: str, epoch: int, *, grace_ms: int) -> Call:
        return self._call(DETACH, worker_id, epoch, grace_ms)

    def renew(self, sessions: list[str], *, lease_ms: int, create: bool = False) -> Call:
        return self._call(RENEW, lease_ms, int(create), *sessions)

    def reap(self, *, limit: int) -> Call:
        return self._call(REAP, limit)

    def record(self, replaced: int, fields: dict[str, str]) -> Call:
        """`replaced`: the revision that these fields replace."""
        return self._call(RECORD, replaced, *(part for field in fields.items() for part in field))

    def _call(self, script: Script, *args: str | int | bytes) -> Call:
        return Call(script, self.keys.all(), [self.router_id, *args])
