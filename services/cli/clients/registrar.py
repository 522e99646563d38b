"""Where models come from, where results go and where they are asked, for commands that train or evaluate."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from services.cli.errors import WRONG_USE, CommandFailed

if TYPE_CHECKING:
    from trainer.registrar import Registrar
    from trainer.teacher import Endpoint


def registrar(data_dir: Path) -> "Registrar":
    """From the environment if it names an object store, else from the local cluster."""
    from services.cli.clients.registry import publisher, signing_key, store_settings
    from services.local.running_cluster import running_cluster
    from services.shared.objectstore import connect
    from services.shared.settings import WrongSettings, read
    from services.shared.signing import TrustedKeys
    from trainer.registrar import Registrar
    from trainer.settings import PublisherSettings

    if "TIDEGATE_S3_ENDPOINT" in os.environ:
        try:
            return read(PublisherSettings).registrar()
        except WrongSettings as error:
            raise CommandFailed(f"wrong configuration:\n{error}", status=WRONG_USE) from None
    key = signing_key(data_dir)
    routers = running_cluster(data_dir).addresses.routers
    return Registrar(connect(store_settings(data_dir)), key, TrustedKeys([key.public]), routers, publisher=publisher())


def gateway(data_dir: Path) -> "Endpoint | None":
    """Where the served candidate is asked: from the environment if it names it, else the local cluster's gateway."""
    from services.local import env_file
    from services.local.data_folder import DataFolder
    from services.shared.settings import WrongSettings, read
    from trainer.settings import GatewaySettings

    try:
        settings = read(GatewaySettings)
    except WrongSettings as error:
        raise CommandFailed(f"wrong configuration:\n{error}", status=WRONG_USE) from None
    if settings.gateway_url is None and DataFolder.at(data_dir).environment.exists():
        values = env_file.read(DataFolder.at(data_dir))
        given = {"gateway_url": values["OPENAI_BASE_URL"], "gateway_api_key": values["OPENAI_API_KEY"]}
        settings = settings.model_copy(update=given)
    return settings.gateway()
