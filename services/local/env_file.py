"""local.env: the addresses and keys that a client on this machine needs. Shells source it; `tidegate chat` reads it."""

from collections.abc import Mapping

from services.local.cluster_record import Addresses
from services.local.data_folder import DataFolder, write_private
from services.local.errors import NOT_RUNNING, ClusterError
from services.local.secrets import Secrets


def variables(addresses: Addresses, secrets: Secrets) -> dict[str, str]:
    """The variables of the file, by name."""
    return {
        "OPENAI_BASE_URL": f"http://{addresses.rest}/v1",
        "OPENAI_API_KEY": secrets.api_key,
        "TIDEGATE_GRPC": addresses.grpc,
        "TIDEGATE_ADMIN_KEY": secrets.admin_key,
    }


def write(folder: DataFolder, values: Mapping[str, str]) -> None:
    """Writes the file; only its owner may read it."""
    write_private(folder.environment, "".join(f"{name}={value}\n" for name, value in values.items()))


def read(folder: DataFolder) -> dict[str, str]:
    """Reads the variables of the file.

    Raises:
        ClusterError: No cluster was started in this folder.
    """
    try:
        lines = folder.environment.read_text().splitlines()
    except FileNotFoundError:
        raise ClusterError(
            f"no cluster was started in {folder.root}: start one with `tidegate up`, or name another --data-dir",
            status=NOT_RUNNING,
        ) from None
    pairs = (line.removeprefix("export ").partition("=") for line in lines if "=" in line)
    return {name: value for name, _, value in pairs}
