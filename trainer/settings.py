"""Settings of the trainer, from its environment."""

from pathlib import Path

from pydantic import Field

from services.shared.objectstore import StoreSettings, connect
from services.shared.settings import Address, Addresses, LogSettings, Settings, TlsSettings
from services.shared.signing import PublicKeys, SigningSettings, TrustedKeys
from trainer.registrar import Registrar
from trainer.teacher import Endpoint


class TeacherSettings(Settings):
    """Where the teacher of a distillation is served."""

    teacher_url: str | None = Field(
        None,
        pattern=r"^https?://\S+$",
        description="Base URL of the OpenAI API that serves the teacher of a distillation, with /v1. Default: none;"
        " `tidegate train run` asks the gateway of the local cluster.",
    )
    teacher_api_key: str | None = Field(
        None, min_length=1, description="API key for teacher_url. Default: none is sent."
    )
    teacher_concurrency: int = Field(
        8, ge=1, le=1024, description="Most questions that wait for the teacher's answers at the same time."
    )
    teacher_limit_s: float = Field(600.0, gt=0, description="Seconds that one answer of the teacher may take.")

    def teacher(self) -> Endpoint | None:
        """The endpoint, if there is one."""
        if self.teacher_url is None:
            return None
        return Endpoint(self.teacher_url, self.teacher_api_key, self.teacher_concurrency, self.teacher_limit_s)


class GatewaySettings(Settings):
    """Where a run asks the candidate that it rolls out."""

    gateway_url: str | None = Field(
        None,
        pattern=r"^https?://\S+$",
        description="Base URL of the cluster's API, with /v1, for `evaluate.served` of recipes. Default: none;"
        " `tidegate train run` asks the gateway of the local cluster.",
    )
    gateway_api_key: str | None = Field(
        None,
        min_length=1,
        description="API key for gateway_url, of a tenant in `rollout.canary_tenants` of the pool. Default: none.",
    )
    gateway_limit_s: float = Field(120.0, gt=0, description="Seconds that one answer of the candidate may take.")

    def gateway(self) -> Endpoint | None:
        """The endpoint, if there is one."""
        if self.gateway_url is None:
            return None
        return Endpoint(self.gateway_url, self.gateway_api_key, limit_s=self.gateway_limit_s)


class CompressorSettings(Settings):
    """Where llm-compressor is installed."""

    llm_compressor: Path | None = Field(
        None,
        description="Python of the environment in which scripts/llm_compressor.sh has installed llm-compressor, for"
        " quantizing with algorithm: gptq. Default: none.",
    )


class PublisherSettings(
    StoreSettings, SigningSettings, TlsSettings, TeacherSettings, GatewaySettings, CompressorSettings
):
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


class JobSettings(PublisherSettings):
    """Settings of the process that runs a job."""

    train_processes: int = Field(
        1,
        ge=1,
        le=1024,
        description="Processes that learn a job together, each on a GPU of its own where there are GPUs.",
    )


class TrainerSettings(JobSettings, LogSettings):
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
    peak_tflops: float | None = Field(
        None,
        gt=0,
        description="Peak of one device in TFLOPS, dense, in the precision of the runs, for"
        " `tidegate_trainer_mfu_ratio`. Default: by the name of the GPU; if it is not known, there is no such figure.",
    )
    kept_jobs: int = Field(20, ge=0, le=10_000, description="Folders of ended jobs that are kept.")
    max_attempts: int = Field(3, ge=1, le=100, description="Times that a job is started before it counts as failed.")
