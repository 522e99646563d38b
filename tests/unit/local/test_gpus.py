"""GPUs are handed out: one's own first, shared only where their memory is shared too."""

from pathlib import Path

import pytest

from services.local.gpus import GpuNeed, hand_out
from services.local.machine import visible_gpus
from services.shared.engine_settings import VllmEngine
from services.shared.settings import WrongSettings


def need(process: str, **engine: object) -> GpuNeed:
    return GpuNeed.of(process, "tide", VllmEngine.model_validate(engine))


def test_every_process_has_gpus_of_its_own_while_there_are_enough() -> None:
    needs = [need("a", tensor_parallel=2), need("b"), need("c", tensor_parallel=2, nodes=2)]
    assert hand_out(needs, ["0", "1", "2", "3"]) == {"a": ("0", "1"), "b": ("2",), "c": ("3",)}


def test_workers_share_a_gpu_when_they_share_its_memory() -> None:
    half = [need(name, gpu_memory_utilization=0.5) for name in "abcd"]
    assert hand_out(half, ["0", "1"]) == {"a": ("0",), "b": ("1",), "c": ("0",), "d": ("1",)}
    sized = [need(name, kv_memory_gib=1.0) for name in "abc"]
    assert set(hand_out(sized, ["GPU-7"]).values()) == {("GPU-7",)}


def test_workers_that_take_more_than_the_memory_of_a_gpu_are_refused() -> None:
    with pytest.raises(WrongSettings, match=r"pools\.tide\.engine\.gpu_memory_utilization = 0\.92: b shares GPU 0"):
        hand_out([need("a"), need("b")], ["0"])


def test_a_worker_that_needs_more_gpus_than_there_are_is_refused() -> None:
    with pytest.raises(WrongSettings, match=r"pools\.tide\.engine: .* needs 4 GPUs on a node, and this machine has 2"):
        hand_out([need("a", tensor_parallel=4)], ["0", "1"])


def test_nothing_is_handed_out_where_the_gpus_are_not_known() -> None:
    assert hand_out([need("a", tensor_parallel=4)], []) == {}


def test_the_gpus_are_those_that_the_environment_allows_or_nvidia_smi_lists(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-7,")
    assert visible_gpus() == ("2", "GPU-7")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\n[ "$1" = --query-gpu=index ] && printf "0\\n1\\n"\n')
    program.chmod(0o755)
    assert visible_gpus() == ("0", "1")
    program.write_text("#!/bin/sh\necho no devices >&2\nexit 9\n")
    assert visible_gpus() == ()
