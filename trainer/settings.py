"""What a trainer process is told by its environment."""

from pathlib import Path

from pydantic import Field

from services.shared.objectstore import StoreSettings, connect
from services.shared.settings import Address, Addresses, LogSettings, TlsSettings
from services.shared.signing import PublicKeys, SigningSettings, TrustedKeys
from trainer.run import Registrar


class PublisherSettings(StoreSettings, SigningSettings, TlsSettings):
    """What it takes to run a recipe."""

    routers: Addresses = Field((), description="host:port of the routers, for rollouts, with commas between")
    trusted_keys: PublicKeys | None = Field(
        None, description="public keys that may have signed a base model; default: the signing key's own"
    )

    def registrar(self) -> Registrar:
        """Raises WrongSettings."""
        key = self.signing_key()
        trusted = TrustedKeys((key.public, *(self.trusted_keys or ())))
        return Registrar(connect(self), key, trusted, self.routers, self.tls())


class TrainerSettings(PublisherSettings, LogSettings):
    http_listen: Address = Field(description="host:port for HTTP: probes and metrics")
    database_url: str = Field(description="SQLAlchemy URL of the job queue: sqlite:///PATH or postgresql+DRIVER://...")
    work_dir: Path = Field(description="folder for runs and for verified base models")
    trainer_id: str | None = Field(None, pattern=r"^[A-Za-z0-9._:-]{1,128}$")
    lease_s: float = Field(60.0, ge=1, description="a job whose trainer is not heard of for so long goes to another")
    poll_s: float = Field(1.0, gt=0, description="how often an idle trainer looks for a job")
    kept_jobs: int = Field(20, ge=0, le=10_000, description="folders of ended jobs that stay in the work folder")
    max_attempts: int = Field(3, ge=1, le=100, description="how often a job is begun before it counts as failed")
