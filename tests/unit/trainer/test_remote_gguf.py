"""Which file of a hub's repository or of a bucket is meant."""

import pytest

from trainer.sources.remote_gguf import choose
from trainer.sources.source import WrongSource

QWEN = [f"Qwen3-8B-{kind}.gguf" for kind in ("Q4_K_M", "Q4_K_S", "Q8_0", "BF16")]
LLAMA = ["llama_3.1_8b_q4_k_m.gguf", "README.md", "config.json"]
SPLIT = [f"Q8_0/DeepSeek-V3-Q8_0-{part:05}-of-00002.gguf" for part in (1, 2)]
UNSLOTH = ["Q4_K_M/Phi-4.gguf", "Phi-4-UD-Q8_0.gguf", "mmproj-F16.gguf", "Phi-4-F16.gguf"]


@pytest.mark.parametrize(
    ("names", "wanted", "file"),
    [
        (QWEN, "Q4_K_M", "Qwen3-8B-Q4_K_M.gguf"),
        (QWEN, "q8_0", "Qwen3-8B-Q8_0.gguf"),
        (QWEN, "Qwen3-8B-BF16.gguf", "Qwen3-8B-BF16.gguf"),
        (LLAMA, "Q4_K_M", "llama_3.1_8b_q4_k_m.gguf"),
        (UNSLOTH, "Q4_K_M", "Q4_K_M/Phi-4.gguf"),
        (UNSLOTH, "UD-Q8_0", "Phi-4-UD-Q8_0.gguf"),
        (UNSLOTH, "F16", "Phi-4-F16.gguf"),
        (UNSLOTH, "Q4_K_M/Phi-4.gguf", "Q4_K_M/Phi-4.gguf"),
        (["Q4_K_M.gguf"], "Q4_K_M", "Q4_K_M.gguf"),
        ([*SPLIT, "whole-Q8_0.gguf"], "Q8_0", "whole-Q8_0.gguf"),
    ],
)
def test_a_name_or_a_quantization_means_one_file(names: list[str], wanted: str, file: str) -> None:
    assert choose(names, wanted) == file


@pytest.mark.parametrize(
    ("names", "wanted", "said"),
    [
        (QWEN, "Q4_K", r"no GGUF file Q4_K\. There are Qwen3-8B-BF16\.gguf, .*Qwen3-8B-Q8_0\.gguf"),
        (QWEN, "other.gguf", r"no GGUF file other\.gguf\. There are Qwen3"),
        (QWEN, "qwen3-8b-q8_0.gguf", "no GGUF file"),
        ([*QWEN, "Qwen3-8B-UD-Q8_0.gguf"], "Q8_0", "any of Qwen3-8B-Q8_0.gguf, Qwen3-8B-UD-Q8_0.gguf: name the file"),
        (SPLIT, "Q8_0", r"00001-of-00002\.gguf is a part of a model .* --merge"),
        (SPLIT, SPLIT[1], r"00002-of-00002\.gguf is a part of a model .* --merge"),
        (["model.safetensors"], "Q8_0", r"there is no \.gguf file"),
        (["mmproj-F16.gguf"], "F16", "no GGUF file F16"),
    ],
)
def test_anything_else_is_told_with_the_files_that_are_there(names: list[str], wanted: str, said: str) -> None:
    with pytest.raises(WrongSource, match=said):
        choose(names, wanted)
