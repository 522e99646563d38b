"""`tidegate up`: a whole cluster on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.errors import WRONG_USE, CommandFailed
from services.cli.options import DEFAULT_DATA_DIR, DataDir

if TYPE_CHECKING:
    from services.local.data_folder import DataFolder


def up(
    engine: Annotated[str | None, typer.Option(help="vllm or simulated; default: what tidegate.yaml says")] = None,
    workers: Annotated[int | None, typer.Option(help="worker processes of each pool")] = None,
    model: Annotated[
        str | None, typer.Option(help="model to serve: a registry reference, a folder or a .gguf file")
    ] = None,
    rest_port: Annotated[int | None, typer.Option(help="port of the REST API; default: 8080, or any free port")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="port of the gRPC API; default: 8081, or any free port")] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    config: Annotated[
        Path | None, typer.Option(help="configuration file; default: tidegate.yaml in this folder, if it exists")
    ] = None,
    routers: Annotated[int, typer.Option(help="router processes")] = 1,
    database_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="PostgreSQL database for keys, usage and training jobs; put its password into PGPASSWORD; "
            "default: SQLite files",
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="return when the cluster is ready; it keeps running")
    ] = False,
) -> None:
    """Start a cluster: Redis, object store, router, workers, gateway. Ctrl-C stops it."""
    from services.shared.settings import WrongSettings

    given = {
        "engine": engine,
        "workers": workers,
        "model": str(Path(model).absolute()) if model and Path(model).exists() else model,
        "rest_port": rest_port,
        "grpc_port": grpc_port,
        "data_dir": data_dir.absolute(),
        "working_dir": Path.cwd(),
        "config": config.absolute() if config else None,
        "routers": routers,
        "database_url": database_url,
    }
    try:
        _start(given, detach)
    except WrongSettings as error:
        raise CommandFailed(f"wrong configuration:\n{error}", status=WRONG_USE) from None


def _start(given: dict[str, Any], detach: bool) -> None:
    from services.cli.views.output import err
    from services.cli.views.start_progress import display
    from services.local import daemon, foreground, s3
    from services.local.data_folder import DataFolder
    from services.local.events import Event
    from services.local.options import UpOptions
    from services.shared.settings import check

    options = check(UpOptions, given, lambda key: "--" + key.replace("_", "-"))
    folder = DataFolder.at(options.data_dir)
    s3.check_disk(folder)
    shown = display(err())

    def report(event: Event) -> None:
        shown.show(event)
        if event.kind == "ready":
            _welcome(folder, float(event.detail), detach)

    try:
        if detach:
            daemon.start(options, report)
        else:
            foreground.log_to_folder(folder)
            foreground.supervise(options, report)
    finally:
        shown.close()


def _welcome(folder: "DataFolder", took_s: float, detached: bool) -> None:
    from services.cli.views.output import out
    from services.local import cluster_record
    from trainer.sources.packaged import QUESTION

    record = cluster_record.load(folder.state)
    if record is None:
        raise CommandFailed(f"{folder.state} is missing: another program removed it")
    where = _shown(folder.root)
    data_dir = "" if folder.root == Path.cwd() / DEFAULT_DATA_DIR else f" --data-dir {where}"
    model = record.models[0]
    out().print(
        f"""
The cluster is ready ({took_s:.1f} s) and serves {", ".join(record.models)}.

  REST   http://{record.addresses.rest}/v1
  gRPC   {record.addresses.grpc}
  logs   {where}/logs

Ask it something:

  source {where}/local.env
  curl $OPENAI_BASE_URL/chat/completions -H "Authorization: Bearer $OPENAI_API_KEY" \\
    -H 'Content-Type: application/json' \\
    -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "{QUESTION}"}}]}}'

or talk to it: tidegate chat{data_dir}
{f"Stop it with: tidegate down{data_dir}" if detached else "Ctrl-C stops it."}""",
        markup=False,
    )


def _shown(path: Path) -> Path:
    """The path as a person in this folder would type it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
