"""A real model for the tests that carry the marker `vllm`."""

from pathlib import Path

import pytest

from trainer.sources.packaged import PackagedSmolLM2


@pytest.fixture(scope="session")
def smollm2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct as safetensors, with tokenizer and chat template."""
    return PackagedSmolLM2().prepare(tmp_path_factory.mktemp("smollm2"))
