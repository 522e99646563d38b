"""llm-comply, other people's checks of three APIs, as it is, on the simulated cluster."""

import json
import subprocess

import pytest

from tests.clients import environment
from tests.support.cluster import RunningCluster
from tests.support.prefetch import Prefetch

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

SEES = {"image-input", "chat-image-input", "anth-image-input"}
"""These need a model that sees."""
REASONS = {"reasoning-summary", "chat-reasoning-summary", "anth-thinking-display"}
"""These run for models of certain names only."""


@pytest.fixture(scope="module")
def clients(prefetch: Prefetch) -> None:
    prefetch.wait("scripts/clients.sh")
    environment.make()


@pytest.mark.parametrize(("form", "checks"), [("open-responses", 13), ("openai-chat", 9), ("anthropic", 9)])
def test_what_needs_no_eyes_passes(clients: None, simulated: RunningCluster, form: str, checks: int) -> None:
    program = str(environment.FOLDER / "bin/llm-comply")
    target = ["--base-url", simulated.rest, "--api-key", simulated.key, "--model", "tide", "--timeout", "120"]
    done = subprocess.run(
        [program, "--format", form, *target, "--json"], capture_output=True, text=True, timeout=600, check=False
    )
    results = {each["id"]: each for each in json.loads(done.stdout)["results"]}
    assert len(results) == checks
    assert {name for name, each in results.items() if each["status"] == "skipped"} <= REASONS
    failed = {name: each.get("errors") for name, each in results.items() if each["status"] == "failed"}
    assert set(failed) <= SEES, failed
