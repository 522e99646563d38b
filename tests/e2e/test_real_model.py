"""A real model behind the public interfaces, asked just as the README says."""

import re
import subprocess
import sys

import pytest
from openai import AsyncOpenAI

from tests.support.cluster import REPOSITORY, RunningCluster

pytestmark = [pytest.mark.vllm, pytest.mark.cluster, pytest.mark.timeout(400)]


def examples(language: str) -> list[str]:
    readme = (REPOSITORY / "README.md").read_text().split("## First request")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", readme, re.DOTALL)


def test_the_readme_has_its_examples() -> None:
    assert len(examples("sh")) == 1
    assert len(examples("python")) == 2


@pytest.mark.parametrize("example", examples("sh"), ids=["curl"])
def test_the_first_request_pasted_into_a_shell(real: RunningCluster, example: str) -> None:
    shown = subprocess.run(["bash", "-ec", example], cwd=real.folder, capture_output=True, text=True, timeout=120)
    assert "Paris" in shown.stdout, shown.stdout + shown.stderr
    assert shown.stdout.rstrip().endswith("data: [DONE]")


@pytest.mark.parametrize("example", examples("python"), ids=["openai", "grpc"])
def test_the_clients_of_the_readme(real: RunningCluster, example: str) -> None:
    command = [sys.executable, "-c", example]
    shown = subprocess.run(command, cwd=REPOSITORY, env=real.environment, capture_output=True, text=True, timeout=120)
    assert "Paris" in shown.stdout, shown.stdout + shown.stderr


async def test_answers_have_all_that_clients_ask_for(real: RunningCluster) -> None:
    async with AsyncOpenAI(base_url=real.rest, api_key=real.key) as openai:
        models = [model.id async for model in openai.models.list()]
        assert models == ["smollm2-135m-instruct"]
        answer = await openai.chat.completions.create(
            model=models[0],
            messages=[{"role": "user", "content": "Count from one to ten."}],
            n=2,
            seed=7,
            max_completion_tokens=12,
        )
        completion = await openai.completions.create(
            model=models[0], prompt="One, two, three, four,", max_tokens=20, temperature=0, stop=[" seven"]
        )
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.usage is not None
    assert 2 <= answer.usage.completion_tokens <= 24
    assert completion.choices[0].finish_reason == "stop"
    assert "five, six" in completion.choices[0].text
    assert "seven" not in completion.choices[0].text
