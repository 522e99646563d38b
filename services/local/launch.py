"""Starts a program in its own process group. The system kills the program when its parent ends, even by kill -9.

Usage: `python launch.py PARENT_PID PROGRAM ARGUMENT...`

This is a script of its own and not code between fork and exec: there, threads of gRPC could hold locks. macOS has no
such signal; there the program just starts.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Replaces this process by the program."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    # A process group and not a session: Linux divides the cores between sessions first. Engines in different sessions
    # have delayed each other by a second and more; in one session the delay is no longer than an engine step.
    os.setpgid(0, 0)
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent ended before the signal was set
            raise SystemExit(1)
    os.execvp(program[0], program)  # noqa: S606


if __name__ == "__main__":
    main()
