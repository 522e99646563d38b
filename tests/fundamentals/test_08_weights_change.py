"""Lesson 8: weights change under traffic, and each answer names its version.

`tidegate models promote` moves the alias `latest` and brings the workers to the new version, one after another. A
worker downloads and checks the new files while it serves. Then it lets its requests end, swaps the weights in place,
and proves them with the manifest's golden prompts (services/worker/weight_update.py). No request fails, and none mixes
two versions: the response header names the one that made the answer.
"""

import asyncio

import pytest
from openai import AsyncOpenAI

from tests.fundamentals.observer import Observer
from tests.support.cluster import RunningCluster, tidegate

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]


async def test_no_answer_mixes_versions_while_weights_change(
    simulated: RunningCluster, openai: AsyncOpenAI, observer: Observer
) -> None:
    answers: list[tuple[str, str]] = []

    async def ask() -> tuple[str, str]:
        """The version in the header, and the answer."""
        raw = await openai.completions.with_raw_response.create(
            model="tide", prompt="Which tide is it?", max_tokens=40, temperature=0, extra_body={"ignore_eos": True}
        )
        return raw.headers["x-tidegate-model-version"], raw.parse().choices[0].text

    async def ask_again_and_again() -> None:
        while True:
            answers.append(await ask())

    old = await ask()
    await command(simulated, "models", "import", "simulated:8", "--name", "simulated", "--alias", "lesson-8")
    traffic = [asyncio.create_task(ask_again_and_again()) for _ in range(4)]
    await command(simulated, "models", "promote", "simulated", "lesson-8")
    new = await ask()
    await command(simulated, "models", "rollback", "simulated")
    assert await ask() == old
    for task in traffic:
        task.cancel()
    failures = [result for result in await asyncio.gather(*traffic, return_exceptions=True) if _failed(result)]
    assert not failures
    assert old[0] != new[0]
    assert old[1] != new[1]
    assert set(answers) == {old, new}


async def command(cluster: RunningCluster, *arguments: str) -> None:
    done = await asyncio.to_thread(tidegate, cluster.folder, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def _failed(result: object) -> bool:
    return isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError)
