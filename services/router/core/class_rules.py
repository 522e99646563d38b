"""Class rules: how the classes of a pool are treated, by tidegate.yaml and by what operators changed at run time."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import orjson

from services.shared.class_policy import ClassPolicy
from services.shared.classes import ServiceClass
from services.shared.config import Cluster
from tidegate.router.v1 import router_pb2 as pb


@dataclass(frozen=True, slots=True)
class ClassRules:
    """The rules of one class. Times are in milliseconds, tokens are estimates. With an ageing of 0 it never ages."""

    max_queued: int
    max_queued_tokens: int
    max_wait_ms: int
    ttft_objective_ms: int
    ageing_ms: int
    preempts: bool
    preemptible: bool

    @classmethod
    def of_policy(cls, policy: ClassPolicy) -> Self:
        """The rules that tidegate.yaml has."""
        return cls(
            max_queued=policy.max_queued,
            max_queued_tokens=policy.max_queued_tokens,
            max_wait_ms=_ms(policy.max_wait_s),
            ttft_objective_ms=_ms(policy.ttft_objective_s),
            ageing_ms=_ms(policy.ageing_s),
            preempts=policy.preempts,
            preemptible=policy.preemptible,
        )

    def changed(self, change: pb.ClassPolicy) -> "ClassRules":
        """These rules with every field that is set in `change`."""
        return replace(self, **{described.name: value for described, value in change.ListFields()})

    def message(self) -> pb.ClassPolicy:
        """The rules as operators see them."""
        return pb.ClassPolicy(**{name: getattr(self, name) for name in ClassRules.__slots__})


@dataclass(frozen=True)
class Rules:
    """The rules of every class. `revision` counts the changes made at run time; `changes` has their fields by class."""

    classes: Mapping[ServiceClass, ClassRules]
    revision: int = 0
    changes: Mapping[ServiceClass, pb.ClassPolicy] = field(default_factory=dict)

    @classmethod
    def of_cluster(cls, cluster: Cluster) -> Self:
        """The rules that tidegate.yaml has."""
        return cls({c: ClassRules.of_policy(cluster.policy(c)) for c in ServiceClass})

    def of(self, service_class: ServiceClass) -> ClassRules:
        """The rules of one class."""
        return self.classes[service_class]

    @cached_property
    def arguments(self) -> Mapping[str, str | int]:
        """The arguments that lua/lib/class_rules.lua declares."""
        rules = [self.classes[c] for c in ServiceClass]
        aging = {f"aging_{c.label}_ms": self.classes[c].ageing_ms for c in ServiceClass}
        preempting = "".join(str(int(r.preempts)) for r in rules)
        preemptible = "".join(str(int(r.preemptible)) for r in rules)
        return {**aging, "preempting": preempting, "preemptible": preemptible}

    def with_change(self, service_class: ServiceClass, change: pb.ClassPolicy) -> "Rules":
        """The next revision, with one more change."""
        merged = pb.ClassPolicy()
        merged.MergeFrom(self.changes.get(service_class, pb.ClassPolicy()))
        merged.MergeFrom(change)
        classes = {**self.classes, service_class: self.classes[service_class].changed(change)}
        return Rules(classes, self.revision + 1, {**self.changes, service_class: merged})

    def fields(self) -> dict[str, str]:
        """The record of these rules in Redis."""
        changes = {c.label: _document(change) for c, change in self.changes.items()}
        return {"revision": str(self.revision), **changes}

    def with_record(self, record: Mapping[bytes, bytes], cluster: Cluster) -> "Rules":
        """The rules of tidegate.yaml with the changes that a record has."""
        rules = Rules.of_cluster(cluster)
        for service_class in ServiceClass:
            if document := record.get(service_class.label.encode()):
                rules = rules.with_change(service_class, pb.ClassPolicy(**orjson.loads(document)))
        return replace(rules, revision=int(record[b"revision"]))


def _document(change: pb.ClassPolicy) -> str:
    return orjson.dumps({described.name: value for described, value in change.ListFields()}).decode()


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
