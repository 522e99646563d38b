"""The cluster as one JSON document: pools and workers as the router knows them, and what this gateway has counted."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.samples import Sample

from services.gateway.metrics import Metrics
from services.gateway.upstream.control_client import ClusterStatus
from services.shared.classes import ServiceClass
from services.shared.swap_mode import SwapMode
from tidegate.router.v1 import router_pb2 as pb

Document = dict[str, Any]


def pools(status: ClusterStatus) -> list[Document]:
    """Returns the pools by name, each with its classes in order of rank, its workers by id, and its last rollout."""
    workers = defaultdict(list)
    for worker in sorted(status.workers, key=lambda worker: worker.heartbeat.worker_id):
        workers[worker.heartbeat.pool].append(_worker(worker))
    return [
        _pool(pool, workers[pool.pool.name], status.rollouts.get(pool.pool.name))
        for pool in sorted(status.pools, key=lambda pool: pool.pool.name)
    ]


def _pool(status: pb.PoolStatus, workers: list[Document], rollout: pb.Rollout | None) -> Document:
    return {
        "name": status.pool.name,
        "model": status.model,
        "placement": status.placement,
        "context_tokens": status.pool.context_tokens,
        "versions": list(status.pool.model_versions),
        "adapters": list(status.pool.adapters),
        "running": status.granted,
        "ready_workers": status.pool.ready_workers,
        "desired_workers": status.desired_workers,
        "classes": [_class(row) for row in sorted(status.classes, key=lambda row: row.service_class)],
        "workers": workers,
        "rollout": _rollout(rollout) if rollout else None,
    }


def _class(row: pb.ClassStatus) -> Document:
    return {
        "tier": ServiceClass.of_proto(row.service_class).label,
        "queued": row.queued,
        "queued_tokens": row.queued_tokens,
        "running": row.running,
        "expected_wait_ms": row.expected_wait_ms,
        "max_queued": row.policy.max_queued,
    }


def _worker(worker: pb.WorkerStatus) -> Document:
    beat = worker.heartbeat
    return {
        "id": beat.worker_id,
        "address": beat.address,
        "pid": beat.pid,
        "state": _state(beat.state),
        "version": beat.model_version,
        "running": max(beat.load.running, worker.granted),
        "waiting": beat.load.waiting,
        "slots": beat.capacity.slots,
        "kv_tokens_used": beat.load.kv_tokens_used,
        "kv_tokens_reserved": worker.kv_tokens_reserved,
        "kv_tokens": beat.capacity.kv_tokens,
        "tokens_per_second": beat.load.tokens_per_second,
        "heartbeat_age_ms": worker.heartbeat_age_ms,
        "loaded_adapters": _loaded_adapters(beat),
    }


def _loaded_adapters(beat: pb.Heartbeat) -> list[Document]:
    """Adapters in the memory of its engine, by name. Workers of older releases do not tell the versions."""
    loaded = zip_longest(beat.loaded_adapters, beat.loaded_adapter_versions, fillvalue="")
    return [{"name": name, "version": version} for name, version in sorted(loaded)]


def _rollout(rollout: pb.Rollout) -> Document:
    return {
        "id": rollout.rollout_id,
        "state": _name(pb.RolloutState.Name(rollout.state), "ROLLOUT_STATE_"),
        "version": rollout.model_version,
        "previous_version": rollout.previous_version,
        "reason": rollout.reason,
        "started_ms": rollout.started_ms,
        "ended_ms": rollout.ended_ms,
        "policy": _name(pb.RolloutPolicy.Name(rollout.policy), "ROLLOUT_POLICY_"),
        "mode": SwapMode.of_proto_name(pb.SwapMode.Name(rollout.mode)),
        "step": _step(rollout.step) if rollout.HasField("step") else None,
        "paused_by": rollout.paused_by,
        "admitted_version": rollout.admitted_version,
        "who": rollout.who,
        "why": rollout.why,
        "gate": _gate(rollout.gate) if rollout.HasField("gate") else None,
        "workers": [_rollout_worker(worker) for worker in rollout.workers],
    }


def _step(step: pb.RolloutStep) -> Document:
    """Where a canary is; step `count` + 1 is the whole pool."""
    return {"number": step.number, "count": step.count, "workers": step.workers, "hold_left_ms": step.hold_left_ms}


def _gate(gate: pb.GateVerdict) -> Document:
    """Values are parts of requests, seconds or tokens, as the figure says; null: there were no requests."""
    return {
        "decision": _name(pb.GateDecision.Name(gate.decision), "GATE_DECISION_"),
        "reason": gate.reason,
        "figures": [
            {
                "tier": ServiceClass.of_proto(figure.service_class).label,
                "figure": figure.figure,
                "old": figure.old_value if figure.HasField("old_value") else None,
                "new": figure.new_value if figure.HasField("new_value") else None,
                "old_requests": figure.old_requests,
                "new_requests": figure.new_requests,
                "worse": figure.worse,
            }
            for figure in gate.figures
        ],
    }


def _rollout_worker(worker: pb.RolloutWorker) -> Document:
    """`phase` is null for a worker that this rollout has not asked to do anything."""
    update = worker.delivery if worker.HasField("delivery") else None
    return {
        "id": worker.worker_id,
        "state": _state(worker.state),
        "version": worker.model_version,
        "phase": _name(pb.DeliveryPhase.Name(update.phase), "DELIVERY_PHASE_") if update else None,
        "reason": update.reason if update else "",
    }


def _state(state: "pb.WorkerState.ValueType") -> str:
    return _name(pb.WorkerState.Name(state), "WORKER_STATE_")


def _name(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()


def load(cluster: Document) -> Document:
    """Returns how many requests run and wait. cluster: the whole document, with `pools` and `gateway`."""
    return {
        "server_load": int(cluster["gateway"]["open_requests"]),
        "running": sum(pool["running"] for pool in cluster["pools"]),
        "queued": sum(row["queued"] for pool in cluster["pools"] for row in pool["classes"]),
    }


def traffic(metrics: Metrics) -> dict[str, Any]:
    """Returns what this gateway has counted since it started. A reader that reads it twice knows the rates in between.

    `requests` counts responses by status. In `ttft`, `counts[i]` counts times up to `le[i]` seconds; null is no limit.
    """
    return {
        "open_requests": sum(sample.value for sample in _samples(metrics.open_requests)),
        "tokens": sum(sample.value for sample in _samples(metrics.tokens, "_total")),
        "requests": _by_label(_samples(metrics.requests, "_total"), "status"),
        "ttft": _buckets(_samples(metrics.ttft, "_bucket")),
    }


def _samples(metric: Counter | Gauge | Histogram, suffix: str = "") -> Iterator[Sample]:
    return (sample for family in metric.collect() for sample in family.samples if _matches(sample, suffix))


def _matches(sample: Sample, suffix: str) -> bool:
    return sample.name.endswith(suffix) and not sample.name.endswith("_created")


def _by_label(samples: Iterable[Sample], label: str) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for sample in samples:
        sums[sample.labels[label]] += sample.value
    return dict(sums)


def _buckets(samples: Iterable[Sample]) -> dict[str, list[Any]]:
    sums = sorted((float(le), count) for le, count in _by_label(samples, "le").items())
    return {"le": [None if le == float("inf") else le for le, _ in sums], "counts": [count for _, count in sums]}
