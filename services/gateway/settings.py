"""What the gateway is told by its environment."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator

from services.shared.objectstore import StoreSettings
from services.shared.settings import Address, Addresses, ProcessSettings

Key = Annotated[SecretStr, Field(min_length=16, max_length=512)]


class GatewaySettings(ProcessSettings):
    routers: Annotated[Addresses, Field(min_length=1)] = Field(description="router replicas: host:port,host:port")
    api_key: Key = Field(description="the key that clients send as `Authorization: Bearer`")
    admin_key: Key = Field(description="the operator's key; it opens everything")
    server_secret: Annotated[SecretStr, Field(min_length=32, max_length=512)] = Field(
        description="what keys are hashed with; the same on every gateway, and kept: with another, no key is known"
    )
    data_dir: Path = Field(description="folder for what must outlive the process: the ledger's journal, SQLite")
    database_url: SecretStr | None = Field(
        None, description="postgresql://USER:PASSWORD@HOST:5432/NAME or sqlite:///PATH; default: SQLite in the data_dir"
    )
    ledger_spool_bytes: int = Field(
        256 * 1024 * 1024, ge=1024 * 1024, description="rows on disk while the database is away; full: no more requests"
    )
    metrics_listen: Address | None = Field(
        None, description="host:port for probes and metrics alone, without a key; else loopback alone may read metrics"
    )
    s3_endpoint: str | None = Field(
        None, description="URL of the S3 server that keeps files and batches; none: no batches"
    )
    s3_bucket: str = "tidegate"
    s3_access_key: SecretStr | None = Field(None, description="access key of the S3 server")
    s3_secret_key: SecretStr | None = Field(None, description="secret key of the S3 server")
    s3_region: str = "us-east-1"
    max_file_bytes: int = Field(64 * 1024 * 1024, ge=1024, description="largest file that may be uploaded")
    batch_concurrency: int = Field(16, ge=1, le=1024, description="requests of one batch that are asked for at once")
    max_body_bytes: int = Field(2 * 1024 * 1024, ge=1024, description="largest request; larger ones are refused")
    max_open_requests: int = Field(10_000, ge=1, description="requests held at once; more are refused with Retry-After")
    body_timeout_s: float = Field(30.0, gt=0, description="a request must have arrived whole by then")
    request_timeout_s: float = Field(900.0, gt=0, description="an answer must be complete by then")
    stall_timeout_s: float = Field(30.0, gt=0, description="a client that reads nothing for so long is dropped")
    linger_s: float = Field(
        0.0, ge=0, description="a gateway that leaves says so, and serves on so long until load balancers have noticed"
    )
    drain_s: int = Field(
        30, ge=0, description="time that open answers get when the gateway leaves; then their connections are closed"
    )
    router_patience_s: float = Field(5.0, gt=0, description="requests wait so long for a lost router, then get 503")

    @model_validator(mode="after")
    def _store_is_whole(self) -> Self:
        given = (self.s3_endpoint, self.s3_access_key, self.s3_secret_key)
        if any(given) and not all(given):
            raise ValueError("s3_endpoint, s3_access_key and s3_secret_key go together")
        return self

    def store(self) -> StoreSettings | None:
        """None where the operator gave no object store: then there are no files and batches."""
        if not (self.s3_endpoint and self.s3_access_key and self.s3_secret_key):
            return None
        return StoreSettings(
            s3_endpoint=self.s3_endpoint,
            s3_bucket=self.s3_bucket,
            s3_access_key=self.s3_access_key.get_secret_value(),
            s3_secret_key=self.s3_secret_key.get_secret_value(),
            s3_region=self.s3_region,
        )
