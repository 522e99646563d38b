"""The `tidegate` command."""

import os
import sys

import typer

from services.cli.commands import bucket, data, keys, models, queue, rollout, train, workers
from services.cli.commands.chat import chat
from services.cli.commands.demo import demo
from services.cli.commands.down import down
from services.cli.commands.logs import logs
from services.cli.commands.status import status
from services.cli.commands.up import up
from services.cli.commands.usage import usage
from services.cli.errors import CommandFailed
from services.local.errors import ClusterError

app = typer.Typer(
    help="An LLM serving cluster that does not drop a token.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (up, down, status, chat, demo, logs, usage):
    app.command()(command)
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
app.add_typer(train.app, name="train")
app.add_typer(data.app, name="data")
app.add_typer(workers.app, name="workers")
app.add_typer(queue.app, name="queue")
app.add_typer(rollout.app, name="rollout")
app.add_typer(bucket.app, name="bucket")


def main() -> None:
    """Runs the command, then ends the process at once.

    Threads of the object store client may still want to enter the interpreter. A thread that finds the interpreter
    shutting down aborts the process (seen once in 40 imports). Then a command that did its work would end with status
    134.
    """
    status = _run()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _run() -> int:
    try:
        app()
    except (CommandFailed, ClusterError) as error:
        sys.stderr.write(f"tidegate: {error}\n")
        return error.status
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == "__main__":
    main()
