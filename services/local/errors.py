"""Why a cluster on this machine cannot be started, run or stopped."""

WRONG_CONFIGURATION = 2
"""Exit status of a process whose settings are wrong. Starting it again would not help."""
NOT_RUNNING = 3
"""Exit status of a command that needs a running cluster where none runs."""


class ClusterError(Exception):
    """A person must act. The message says what went wrong and what to do.

    Args:
        message: Shown to the person as it is.
        status: Exit status of the process that ends because of this error.
    """

    def __init__(self, message: str, *, status: int = 1) -> None:
        super().__init__(message)
        self.status = status
