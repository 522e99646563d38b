"""How a command ends when it cannot do what was asked."""

WRONG_USE = 2
NOT_RUNNING = 3


class CommandFailed(Exception):
    """Shown to the person as it is: what went wrong and what to do. `status` is the exit status."""

    def __init__(self, message: str, *, status: int = 1) -> None:
        super().__init__(message)
        self.status = status
