"""prometheus-targets.json: the processes that Prometheus can scrape, in the format of its file_sd_configs."""

import json
from collections.abc import Iterable
from typing import TypedDict

from services.local.cluster_record import ProcessRecord


class TargetGroup(TypedDict):
    """One entry of the file."""

    targets: list[str]
    labels: dict[str, str]


def targets(processes: Iterable[ProcessRecord]) -> list[TargetGroup]:
    """One group for each process with metrics. Labels: the process's name and its component (router for router-1)."""
    return [
        TargetGroup(
            targets=[process.http_address],
            labels={"process": process.name, "component": process.name.partition("-")[0]},
        )
        for process in processes
        if process.http_address
    ]


def to_json(processes: Iterable[ProcessRecord]) -> str:
    """The content of the file."""
    return json.dumps(targets(processes), indent=2)
