"""`dtype: auto` is the fastest data type that keeps the model's precision."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.worker.engine.vllm.precision import cpu_dtype

AVX2 = {"architecture": "x86_64", "avx2": True, "avx512_bf16": False, "amx_bf16": False}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return saved(tmp_path, {"dtype": "bfloat16"})


def saved(folder: Path, config: dict[str, Any]) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_auto_is_float32_where_bfloat16_would_be_emulated(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        assert cpu_dtype("auto", folder, AVX2) == "float32"
    assert "no bfloat16 instructions" in caplog.text


@pytest.mark.parametrize(
    "processor",
    [AVX2 | {"avx512_bf16": True}, AVX2 | {"amx_bf16": True}, {"architecture": "aarch64"}],
    ids=["AVX-512", "AMX", "Arm"],
)
def test_auto_is_the_models_own_elsewhere(folder: Path, processor: dict[str, Any]) -> None:
    assert cpu_dtype("auto", folder, processor) == "auto"


def test_what_the_operator_names_counts(folder: Path) -> None:
    assert cpu_dtype("bfloat16", folder, AVX2) == "bfloat16"


@pytest.mark.parametrize("config", [{"dtype": "float32"}, {"torch_dtype": "float16"}, {}, {"dtype": None}])
def test_only_weights_in_bfloat16_are_changed(tmp_path: Path, config: dict[str, Any]) -> None:
    assert cpu_dtype("auto", saved(tmp_path, config), AVX2) == "auto"


def test_an_older_name_of_the_field_is_known(tmp_path: Path) -> None:
    assert cpu_dtype("auto", saved(tmp_path, {"torch_dtype": "bfloat16"}), AVX2) == "float32"
