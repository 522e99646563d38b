"""Children of a killed worker must not outlive it.

vLLM runs its engine in child processes, which learn of an orderly end of their parent only: after a kill -9 they would
keep their memory, and the GPU's, for ever. Python gives every spawned child a pipe that closes when its parent is
gone; `register` makes the child watch it. vLLM calls `register` in each of its processes, before it loads a model,
because pyproject.toml names it as one of vLLM's general plugins.
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
    """Ends this process by SIGKILL once its parent has ended, for whatever reason. Does nothing without a parent."""
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_follow, args=(parent.sentinel,), name="parent watch", daemon=True).start()


def installed() -> bool:
    """False when the distribution was installed before it named the plugin."""
    return any(plugin.name == NAME for plugin in entry_points(group="vllm.general_plugins"))


def _follow(sentinel: int) -> None:
    wait([sentinel])
    os.kill(os.getpid(), signal.SIGKILL)
