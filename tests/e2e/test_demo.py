"""The demo on a real model: what it promises is what it checks, and the cluster is afterwards as it was."""

import re

import pytest

from tests.support.cluster import RunningCluster, tidegate

pytestmark = [pytest.mark.vllm, pytest.mark.cluster, pytest.mark.timeout(1200)]

LIMIT_S = 1100.0
"""A few minutes on a machine of its own; far more on two cores that tests share."""


def test_demo(real: RunningCluster) -> None:
    before = real.status()
    shown = tidegate(real.folder, "demo", timeout=LIMIT_S)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    answers = answers_of(shown.stdout)
    (first, untaught), (second, taught), (third, back) = answers
    assert "Sorrel" in taught
    assert "Sorrel" not in untaught + back
    assert first == third != second
    assert re.search(r"meanwhile [1-9]\d* other answers \(.*\), 0 failures", shown.stdout), shown.stdout
    assert versions(real.status()) == versions(before)
    assert pids(real.status()) == pids(before)


def answers_of(output: str) -> list[tuple[str, str]]:
    """Fingerprint and words of each time that the question was asked."""
    found = re.findall(r"> Where is Quillhaven\?\n(.*?)\nsystem_fingerprint: (fp_[0-9a-f]{12})\n", output, re.DOTALL)
    assert len(found) == 3, output
    return [(fingerprint, words) for words, fingerprint in found]


def versions(status: dict[str, list[dict[str, object]]]) -> set[object]:
    return {worker["version"] for worker in status["workers"]}


def pids(status: dict[str, list[dict[str, object]]]) -> dict[object, object]:
    """By name: no process was replaced."""
    return {process["name"]: process["pid"] for process in status["processes"]}
