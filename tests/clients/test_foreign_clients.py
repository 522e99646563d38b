"""Clients that other people wrote, as they are installed: each must find all that it looks for."""

import json
from pathlib import Path

import pytest

from tests.clients.environment import Clients
from tests.support.cluster import RunningCluster
from trainer.sources.packaged import KEY_WORD, QUESTION

pytestmark = [pytest.mark.vllm, pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    ("program", "tool"),
    [("openai_node.cjs", "tide_table"), ("langchain_chat.py", "TideTable"), ("litellm_chat.py", "tide_table")],
)
def test_answers_streams_tools_schemas_and_errors(clients: Clients, program: str, tool: str) -> None:
    told = clients.told(program)
    assert all(KEY_WORD in told[name] for name in ("whole", "streamed", "responded"))
    assert 0 < told["tokens"] <= 20
    assert told["called"]["name"] == tool
    for tide in (told["called"]["arguments"], told["parsed"]):
        assert tide["harbour"] in ("Bergen", "Brest")
        assert isinstance(tide["rising"], bool)
    assert told["error"].endswith("NotFoundError")


def test_the_llm_command(clients: Clients, real: RunningCluster, tmp_path: Path) -> None:
    entry = {
        "model_id": "tide",
        "model_name": "smollm2-135m-instruct",
        "api_base": real.rest,
        "api_key_name": "tidegate",
        "supports_schema": True,
    }
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps([entry]))
    (tmp_path / "keys.json").write_text(json.dumps({"tidegate": real.key}))
    question = ("-m", "tide", "-o", "temperature", "0", "-o", "max_tokens", "20", QUESTION)
    assert KEY_WORD in clients.run("llm", *question)
    assert KEY_WORD in clients.run("llm", "--no-stream", *question)
