"""How a command ends when it cannot do what was asked."""

WRONG_USE = 2
"""Exit status of a command that was called with wrong options or a wrong configuration."""

REFUSED = 3
"""Exit status of a training run whose result is not published, because it is worse than its base."""


class CommandFailed(Exception):
    """A command cannot do what was asked. The message says what went wrong and what to do.

    Args:
        message: Shown to the person as it is.
        status: Exit status of the command.
    """

    def __init__(self, message: str, *, status: int = 1) -> None:
        super().__init__(message)
        self.status = status
