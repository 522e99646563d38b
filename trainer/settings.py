"""Settings of the trainer, from its environment."""

from pathlib import Path

from pydantic import Field

from services.shared.objectstore import StoreSettings, connect
from services.shared.settings import Address, Addresses, LogSettings, TlsSettings
from services.shared.signing import PublicKeys, SigningSettings, TrustedKeys
from trainer.registrar import Registrar


class PublisherSettings(StoreSettings, SigningSettings, TlsSettings):
    """Settings of every process that runs a recipe and publishes the result."""

    routers: Addresses = Field(
        (), description="host:port of each router, with commas between; needed for rollouts. Default: none."
    )
    trusted_keys: PublicKeys | None = Field(
        None,
        description="Public keys (Ed25519, base64, with commas between) that may have signed a base model, besides the"
        " signing key.",
    )

    def registrar(self) -> Registrar:
        """Where and how results are published.

        Raises:
            WrongSettings: The signing key cannot be read.
        """
        key = self.signing_key()
        trusted = TrustedKeys((key.public, *(self.trusted_keys or ())))
        return Registrar(connect(self), key, trusted, self.routers, self.tls(), self.publisher)


class TrainerSettings(PublisherSettings, LogSettings):
    """Settings of the trainer."""

    http_listen: Address = Field(description="host:port on which the process listens for HTTP: probes and metrics.")
    database_url: str = Field(
        description="SQLAlchemy URL of the job queue: sqlite:///PATH or postgresql+DRIVER://USER:PASSWORD@HOST:5432/NAME."
    )
    work_dir: Path = Field(description="Folder for training runs and verified base models.")
    trainer_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._:-]{1,128}$",
        description="Name of the trainer; it must be unique. Default: host name and process id.",
    )
    lease_s: float = Field(
        60.0, ge=1, description="Seconds without a sign of life after which a job goes to another trainer."
    )
    poll_s: float = Field(1.0, gt=0, description="Seconds between two looks of an idle trainer into the queue.")
    kept_jobs: int = Field(20, ge=0, le=10_000, description="Folders of ended jobs that are kept.")
    max_attempts: int = Field(3, ge=1, le=100, description="Times that a job is started before it counts as failed.")
