"""Becomes a program with a process group of its own that the system ends when its parent ends, kill -9 included.

Run as a script, `python launch.py PARENT_PID PROGRAM ARGUMENT...`, and not as code between fork and exec, where gRPC's
threads could hold locks. Where the system has no such signal (macOS) the program just starts.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, program = int(sys.argv[1]), sys.argv[2:]
    # Not a session: Linux shares out the cores between sessions first, and engines of different ones have kept each
    # other waiting for a second and more where in one it is no longer than a step.
    os.setpgid(0, 0)
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the signal was set
            raise SystemExit(1)
    os.execvp(program[0], program)  # noqa: S606


if __name__ == "__main__":
    main()
