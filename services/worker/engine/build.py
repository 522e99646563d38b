"""Builds the engine that the configuration names. vLLM is imported only here, and only when it is needed."""

from services.shared import vllm_device
from services.shared.clock import Clock
from services.shared.config import Adapters
from services.shared.config import Engine as Config
from services.shared.config import SimulatedEngine as SimulatedConfig
from services.worker.engine.contract import Engine


def build_engine(config: Config, clock: Clock, key: str = "engine", adapters: Adapters | None = None) -> Engine:
    """Builds the engine of a pool.

    Args:
        config: The engine's settings.
        clock: Where the engine reads the time.
        key: Configuration key of the settings, for errors.
        adapters: How many adapters the engine has room for; None: for none.

    Raises:
        WrongSettings: The engine cannot run with these settings.
    """
    if isinstance(config, SimulatedConfig):
        from services.worker.engine.simulated.engine import SimulatedEngine

        return SimulatedEngine(config, clock, adapters=adapters)
    from services.worker.engine.vllm.environment import prepare

    on_cpu = vllm_device.on_cpu()
    config = vllm_device.for_device(config, on_cpu=on_cpu, key=key)
    prepare(compiles=bool(config.compile), cpu_processes=config.ranks if on_cpu else 0)
    from services.worker.engine.vllm.arguments import check_arguments
    from services.worker.engine.vllm.engine import VllmEngine

    return VllmEngine(check_arguments(config, key), clock, adapters)
