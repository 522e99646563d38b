"""The part of a model on a follower's node: vLLM's executor with its processes, without an engine.

vLLM's engine on rank 0 drives these processes. They do not notice when it is gone, so the follower ends them.
"""

import asyncio
import logging
import multiprocessing

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.v1.executor.multiproc_executor import MultiprocExecutor

from services.shared.engine_settings import VllmEngine
from services.worker.engine.contract import EngineDead, Model
from services.worker.engine.node import Node
from services.worker.engine.vllm import parent_watch
from services.worker.engine.vllm.cpu_options import cpu_arguments
from services.worker.engine.vllm.environment import name_node
from services.worker.engine.vllm.options import engine_arguments

log = logging.getLogger(__name__)

_KILL_TRIES = 100
_KILL_WAIT_S = 0.2


class VllmPart:
    """The processes of vLLM on one node."""

    def __init__(self, config: VllmEngine) -> None:
        self._config = config
        self._building: asyncio.Future[MultiprocExecutor] | None = None
        self._executor: MultiprocExecutor | None = None
        self._death: str | None = None

    async def start(self, model: Model, node: Node) -> None:
        """Starts the processes, which load their part and meet those of the other nodes.

        Raises:
            EngineDead: vLLM did not start.
        """
        if not parent_watch.installed():
            log.warning(
                "vLLM's plugin %s is not installed: the parts of a killed follower would go on", parent_watch.NAME
            )
        self._building = asyncio.ensure_future(asyncio.to_thread(self._build, model, node))
        try:
            self._executor = await asyncio.shield(self._building)
        except Exception as error:
            self._death = f"vLLM did not start on this node: {error}"
            raise EngineDead(self._death) from error

    def _build(self, model: Model, node: Node) -> MultiprocExecutor:
        name_node(node.address)
        arguments = engine_arguments(self._config, model, node) | cpu_arguments(self._config, model)
        config = AsyncEngineArgs(**arguments).create_engine_config(headless=True)
        return MultiprocExecutor(config)

    @property
    def death(self) -> str | None:
        """Why the part is gone for good, or None while it lives."""
        if self._death is None and self._executor is not None and self._executor.is_failed:
            self._death = "a process of vLLM on this node has died"
        return self._death

    async def stop(self) -> None:
        """Kills vLLM's processes, also those that are still starting. They hold nothing that is worth keeping."""
        self._death = self._death or "the part was stopped"
        building, self._building, self._executor = self._building, None, None
        if building is None:
            return
        for _ in range(_KILL_TRIES):
            children = multiprocessing.active_children()
            for child in children:
                child.kill()
            if building.done() and not children:
                return
            await asyncio.sleep(_KILL_WAIT_S)
        log.error("vLLM's processes could not be killed")
