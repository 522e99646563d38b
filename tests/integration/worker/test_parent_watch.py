"""A spawned child ends when its parent is killed."""

import asyncio
import os
import sys
from pathlib import Path

from tests.support.wait import wait_until

PARENT = """
import multiprocessing, sys, time
from services.worker.engine.vllm import parent_watch

def child():
    parent_watch.register()
    print(multiprocessing.current_process().pid, flush=True)
    time.sleep(600)

if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    multiprocessing.Process(target=child).start()
    time.sleep(600)
"""


async def test_a_child_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    parent = await asyncio.create_subprocess_exec(sys.executable, script, env=environ, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    assert runs(child)
    parent.kill()
    await parent.wait()
    await wait_until(lambda: not runs(child), description="the child has ended")


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
