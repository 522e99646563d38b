"""local.env: what a client on this machine needs, to be sourced by a shell or read by `tidegate chat`."""

from collections.abc import Mapping

from services.cli.errors import NOT_RUNNING, CommandFailed
from services.local.cluster_record import Addresses
from services.local.data_folder import DataFolder, write_private
from services.local.secrets import Secrets


def variables(addresses: Addresses, secrets: Secrets) -> dict[str, str]:
    return {
        "OPENAI_BASE_URL": f"http://{addresses.rest}/v1",
        "OPENAI_API_KEY": secrets.api_key,
        "TIDEGATE_GRPC": addresses.grpc,
        "TIDEGATE_ADMIN_KEY": secrets.admin_key,
    }


def write(folder: DataFolder, values: Mapping[str, str]) -> None:
    write_private(folder.environment, "".join(f"{name}={value}\n" for name, value in values.items()))


def read(folder: DataFolder) -> dict[str, str]:
    """Raises CommandFailed when no cluster was started here."""
    try:
        lines = folder.environment.read_text().splitlines()
    except FileNotFoundError:
        raise CommandFailed(
            f"no cluster was started in {folder.root}: start one with `tidegate up`, or name another --data-dir",
            status=NOT_RUNNING,
        ) from None
    pairs = (line.removeprefix("export ").partition("=") for line in lines if "=" in line)
    return {name: value for name, _, value in pairs}
