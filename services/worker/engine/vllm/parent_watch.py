"""The child processes of a killed worker end too.

vLLM runs its engine in child processes. They notice only an orderly end of their parent. After a kill -9 they would
keep their memory, and the GPU's, for ever. Python gives every spawned child a pipe that closes when its parent is
gone, and `register` makes the child watch this pipe. pyproject.toml names `register` as one of vLLM's general plugins,
so vLLM calls it in each of its processes before it loads a model.
"""

import logging
import multiprocessing
import os
import signal
import threading
from importlib.metadata import entry_points
from multiprocessing.connection import wait

log = logging.getLogger(__name__)

NAME = "tidegate_parent_watch"


def register() -> None:
    """Kills this process (SIGKILL) once its parent has ended for any reason. Does nothing without a parent."""
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_watch, args=(parent.sentinel,), name="parent watch", daemon=True).start()


def installed() -> bool:
    """Returns whether the plugin is installed; it is not if Tidegate was installed before it named the plugin."""
    return any(plugin.name == NAME for plugin in entry_points(group="vllm.general_plugins"))


def _watch(sentinel: int) -> None:
    wait([sentinel])
    os.kill(os.getpid(), signal.SIGKILL)
