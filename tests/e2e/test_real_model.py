"""A real model behind the public interfaces, asked just as the README says."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from openai import AsyncOpenAI, BadRequestError
from transformers import AutoModelForCausalLM

from services.worker.engine.vllm.precision import cpu_dtype
from tests.support.cluster import REPOSITORY, RunningCluster, tidegate
from trainer.sources.packaged import KEY_WORD, QUESTION

pytestmark = [pytest.mark.vllm, pytest.mark.cluster, pytest.mark.timeout(900)]

MODEL = "smollm2-135m-instruct"
ASK: list[Any] = [{"role": "user", "content": "Which tide is it?"}]


def examples(language: str) -> list[str]:
    readme = (REPOSITORY / "README.md").read_text().split("## First request")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", readme, re.DOTALL)


def test_the_readme_has_its_examples() -> None:
    assert len(examples("sh")) == 1
    assert len(examples("python")) == 2
    assert all(QUESTION in example for example in (*examples("sh"), *examples("python")))


@pytest.mark.parametrize("example", examples("sh"), ids=["curl"])
def test_the_first_request_pasted_into_a_shell(real: RunningCluster, example: str) -> None:
    shown = subprocess.run(["bash", "-ec", example], cwd=real.folder, capture_output=True, text=True, timeout=120)
    assert KEY_WORD in shown.stdout, shown.stdout + shown.stderr
    assert shown.stdout.rstrip().endswith("data: [DONE]")


@pytest.mark.parametrize("example", examples("python"), ids=["openai", "grpc"])
def test_the_clients_of_the_readme(real: RunningCluster, example: str) -> None:
    command = [sys.executable, "-c", example]
    shown = subprocess.run(command, cwd=REPOSITORY, env=real.environment, capture_output=True, text=True, timeout=120)
    assert KEY_WORD in shown.stdout, shown.stdout + shown.stderr


def test_its_worker_has_proved_its_golden_prompts_at_its_first_start(real: RunningCluster) -> None:
    (worker,) = json.loads(tidegate(real.folder, "workers", "list", "--json").stdout)
    assert worker["golden_prompts_proved"] >= 3


async def test_log_probabilities_of_a_prompt_are_those_of_the_weights(real: RunningCluster) -> None:
    """What evaluation harnesses measure, beside the same weights in transformers."""
    folder = next(real.folder.rglob("*.safetensors")).parent
    dtype = cpu_dtype("auto", folder, torch.cpu.get_capabilities())
    exact = dtype == "float32"
    text = "The capital of Japan is Tokyo. At high tide the water is a tide table."
    async with AsyncOpenAI(base_url=real.rest, api_key=real.key) as openai:
        asked: dict[str, Any] = {"model": MODEL, "prompt": text, "max_tokens": 0, "echo": True, "logprobs": 1}
        (choice,) = (await openai.completions.create(**asked, extra_body={"return_token_ids": True})).choices
    assert choice.logprobs is not None
    assert choice.logprobs.token_logprobs is not None
    measured = choice.logprobs.token_logprobs[1:]
    token_ids = (choice.model_extra or {})["prompt_token_ids"]
    expected = await asyncio.to_thread(_log_probabilities, folder, token_ids)
    # bfloat16 has three digits.
    assert measured == pytest.approx(expected, abs=0.005 if exact else 0.3)
    assert sum(measured) == pytest.approx(sum(expected), abs=0.02 if exact else 1.5)


def _log_probabilities(folder: Path, token_ids: list[int]) -> list[float]:
    """Returns the log probability of each token but the first, computed by transformers in float32."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    with torch.no_grad():
        logits = model(torch.tensor([token_ids])).logits[0]
    positions = torch.log_softmax(logits[:-1], dim=-1)
    chosen = positions.gather(1, torch.tensor(token_ids[1:])[:, None])
    return [float(value) for value in chosen[:, 0]]


async def test_answers_have_all_that_clients_ask_for(real: RunningCluster) -> None:
    async with AsyncOpenAI(base_url=real.rest, api_key=real.key) as openai:
        models = [model.id async for model in openai.models.list()]
        assert models == [MODEL]
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


async def test_answers_have_the_form_that_was_asked_for(real: RunningCluster) -> None:
    schema = {"type": "object", "properties": {"tide": {"enum": ["high", "low"]}}, "required": ["tide"]}
    form: Any = {"type": "json_schema", "json_schema": {"name": "tide", "schema": schema}}
    async with AsyncOpenAI(base_url=real.rest, api_key=real.key) as openai:
        answer = await openai.chat.completions.create(
            model=MODEL, messages=ASK, response_format=form, max_completion_tokens=32
        )
    assert json.loads(answer.choices[0].message.content or "")["tide"] in ("high", "low")


async def test_a_form_that_takes_too_long_to_compile_is_refused_and_nobody_waits(real: RunningCluster) -> None:
    """xgrammar would be at it for half a minute, and the engine would stand still for everybody."""
    catastrophe = {"structured_outputs": {"regex": "(a|a)*" * 250}}
    async with AsyncOpenAI(base_url=real.rest, api_key=real.key, max_retries=0) as openai:
        refused = asyncio.create_task(openai.chat.completions.create(model=MODEL, messages=ASK, extra_body=catastrophe))
        while not refused.done():
            await openai.chat.completions.create(model=MODEL, messages=ASK, max_completion_tokens=4, timeout=10)
        with pytest.raises(BadRequestError, match="takes too long to compile") as error:
            await refused
    assert error.value.param == "structured_outputs.regex"
