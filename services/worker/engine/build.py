"""Builds the engine that the configuration names. vLLM is imported only here, and only when it is needed."""

from services.shared import vllm_device
from services.shared.clock import Clock
from services.shared.config import Adapters
from services.shared.engine_settings import Engine as Config
from services.shared.engine_settings import SimulatedEngine as SimulatedConfig
from services.shared.engine_settings import VllmEngine as VllmConfig
from services.worker.engine.contract import Engine
from services.worker.engine.part import Part


def build_engine(
    config: Config,
    clock: Clock,
    key: str = "engine",
    adapters: Adapters | None = None,
    traces_endpoint: str | None = None,
) -> Engine:
    """Builds the engine of a pool.

    Args:
        config: The engine's settings.
        clock: Where the engine reads the time.
        key: Configuration key of the settings, for errors.
        adapters: How many adapters the engine has room for; None: for none.
        traces_endpoint: Where an engine that makes spans sends them; None: nowhere.

    Raises:
        WrongSettings: The engine cannot run with these settings.
    """
    if isinstance(config, SimulatedConfig):
        from services.worker.engine.simulated.engine import SimulatedEngine

        return SimulatedEngine(config, clock, adapters=adapters)
    checked = _checked(config, key)
    from services.worker.engine.vllm.engine import VllmEngine

    return VllmEngine(checked, clock, adapters, traces_endpoint)


def build_part(config: Config, key: str = "engine") -> Part:
    """Builds what a follower runs: the part of the pool's model on its node.

    Args:
        config: The engine's settings.
        key: Configuration key of the settings, for errors.

    Raises:
        WrongSettings: The engine cannot run with these settings.
    """
    if isinstance(config, SimulatedConfig):
        from services.worker.engine.simulated.part import SimulatedPart

        return SimulatedPart()
    checked = _checked(config, key)
    from services.worker.engine.vllm.part import VllmPart

    return VllmPart(checked)


def _checked(config: VllmConfig, key: str) -> VllmConfig:
    """Prepares the environment for vLLM, and returns the settings with what depends on the device."""
    from services.worker.engine.vllm.environment import prepare

    on_cpu = vllm_device.on_cpu()
    config = vllm_device.for_device(config, on_cpu=on_cpu, key=key)
    prepare(compiles=bool(config.compile), cpu_processes=config.ranks if on_cpu else 0)
    from services.worker.engine.vllm.arguments import check_arguments

    return check_arguments(config, key)
