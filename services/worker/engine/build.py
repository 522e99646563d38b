"""Builds the engine that the configuration names. vLLM is imported only here, and only when it is needed."""

from services.shared.clock import Clock
from services.shared.config import Engine as Config
from services.shared.config import SimulatedEngine as SimulatedConfig
from services.worker.engine.contract import Engine


def build_engine(config: Config, clock: Clock) -> Engine:
    """Builds the engine of a pool.

    Raises:
        WrongSettings: The engine cannot run with this configuration.
    """
    if isinstance(config, SimulatedConfig):
        from services.worker.engine.simulated.engine import SimulatedEngine

        return SimulatedEngine(config, clock)
    from services.worker.engine.vllm.environment import prepare

    prepare(compiles=config.compile)
    from services.worker.engine.vllm.engine import VllmEngine

    return VllmEngine(config, clock)
