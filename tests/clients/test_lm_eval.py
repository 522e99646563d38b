"""lm-evaluation-harness: however it asks, it measures what OpenAI's own client does.

Its packages are many, so nothing downloads them unasked: `scripts/lm_eval.sh` installs them, and without them this test
skips.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from tests.clients.environment import PROGRAMS
from tests.support.cluster import REPOSITORY, RunningCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

MODEL = "tide"
HARNESS = REPOSITORY / ".tools/lm-eval/bin/python"
RUN_LIMIT_S = 600


@pytest.fixture
def told(simulated: RunningCluster, tmp_path: Path) -> dict[str, Any]:
    """What the harness measured, by the way in which it asked."""
    if not HARNESS.exists():
        pytest.skip("scripts/lm_eval.sh has not installed lm-evaluation-harness")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TQDM_DISABLE": "1",
        "LM_EVAL_MODEL": MODEL,
        **simulated.variables,
    }
    command = [str(HARNESS), "-W", "ignore", str(PROGRAMS / "lm_eval_tasks.py")]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=RUN_LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_likelihoods_and_generations(told: dict[str, Any], simulated: RunningCluster) -> None:
    single = told["single"]
    for way in ("batched", "texts"):
        assert told[way] == single
    with OpenAI(base_url=simulated.rest, api_key=simulated.key, max_retries=0) as openai:
        for document, responses in zip(told["documents"], single["likelihoods"], strict=True):
            own = [_likelihood(openai, document["question"], end) for end in document["choices"]]
            assert [value for ((value, _),) in responses] == pytest.approx(own)
    for way in ("single", "chat"):
        assert all(len(text.split()) == 8 for ((text,),) in told[way]["generations"])


def _likelihood(openai: OpenAI, context: str, end: str) -> float:
    """The log probability of a text after another one, as OpenAI's own client measures it."""
    asked: dict[str, Any] = {"model": MODEL, "prompt": context + end, "echo": True, "logprobs": 0, "max_tokens": 0}
    # The simulated engine makes its figures from these as well.
    asked |= {"temperature": 0, "seed": 1234}
    shown: Any = openai.completions.create(**asked).choices[0].logprobs
    pairs = zip(shown.text_offset, shown.token_logprobs, strict=True)
    return float(sum(value for offset, value in pairs if offset >= len(context)))
