"""prometheus-targets.json: what Prometheus may scrape of this cluster, in the form of its file_sd_configs."""

import json
from collections.abc import Iterable
from typing import TypedDict

from services.local.cluster_record import ProcessRecord


class TargetGroup(TypedDict):
    targets: list[str]
    labels: dict[str, str]


def targets(processes: Iterable[ProcessRecord]) -> list[TargetGroup]:
    """One group a process that has metrics, labelled with its name and with what it is: router-1 is a router."""
    return [
        TargetGroup(
            targets=[process.http_address],
            labels={"process": process.name, "component": process.name.partition("-")[0]},
        )
        for process in processes
        if process.http_address
    ]


def to_json(processes: Iterable[ProcessRecord]) -> str:
    return json.dumps(targets(processes), indent=2)
