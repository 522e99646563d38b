"""Settings of the gateway, from its environment."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator

from services.shared.objectstore import StoreSettings
from services.shared.settings import Address, Addresses, ProcessSettings

Key = Annotated[SecretStr, Field(min_length=16, max_length=512)]


class GatewaySettings(ProcessSettings):
    """Settings of the gateway."""

    routers: Annotated[Addresses, Field(min_length=1)] = Field(
        description="host:port of each router, with commas between."
    )
    api_key: Key = Field(
        description="API key of the tenant `default`; clients send it as `Authorization: Bearer`, `x-api-key` or"
        " `api-key`."
    )
    admin_key: Key = Field(description="Key of the operator; it may do everything.")
    server_secret: Annotated[SecretStr, Field(min_length=32, max_length=512)] = Field(
        description="Secret that API keys are hashed with. It must be the same on every gateway and must be kept: with"
        " another secret, no stored key is valid."
    )
    data_dir: Path = Field(
        description="Folder for data that must survive the process: the ledger's write-ahead log, and SQLite."
    )
    database_url: SecretStr | None = Field(
        None,
        description="Database of accounts and ledger: postgresql://USER:PASSWORD@HOST:5432/NAME or sqlite:///PATH."
        " Default: SQLite in the data folder.",
    )
    ledger_spool_bytes: int = Field(
        256 * 1024 * 1024,
        ge=1024 * 1024,
        description="Bytes of ledger rows that are kept on disk while the database cannot be reached. When they are"
        " used up, the gateway refuses requests.",
    )
    responses_stored: bool = Field(
        True,
        description="Whether responses (`/v1/responses`) and conversations (`/v1/conversations`) are kept in the"
        " database; responses not where a request has `store: false`. If not, there are no conversations, and responses"
        " can neither be read again nor continued nor made in the background.",
    )
    responses_key: Annotated[SecretStr, Field(min_length=32, max_length=512)] | None = Field(
        None,
        description="Secret that stored responses and conversations are encrypted with, the same on every gateway. With"
        " another one, the stored ones count as deleted. Default: none; they are not encrypted.",
    )
    responses_lifetime_s: int = Field(
        30 * 24 * 3600,
        ge=60,
        le=10 * 366 * 24 * 3600,
        description="Seconds for which a response is kept, and a conversation to which nothing is added.",
    )
    responses_per_tenant: int = Field(
        10_000,
        ge=1,
        description="Responses of one tenant that are kept, and as many conversations. The oldest responses go first,"
        " and the conversations that are longest unused.",
    )
    responses_tenant_bytes: int = Field(
        1024 * 1024 * 1024,
        ge=1024,
        description="Bytes of one tenant's responses that are kept, and as many of its conversations. The oldest"
        " responses go first, and the conversations that are longest unused.",
    )
    rollout_events_per_pool: int = Field(
        10_000,
        ge=1_000,
        description="Events of each pool's rollouts that are kept in the database; the oldest go first. Routers keep"
        " the last 1,000.",
    )
    metrics_listen: Address | None = Field(
        None,
        description="host:port of a second HTTP server for probes and metrics, without a key. Default: none; only"
        " loopback may read metrics.",
    )
    s3_endpoint: str | None = Field(
        None, description="URL of the S3 server that stores files and batches. Default: none; there are no batches."
    )
    s3_bucket: str = Field("tidegate", description="Bucket for files and batches.")
    s3_access_key: SecretStr | None = Field(None, description="Access key of the S3 server.")
    s3_secret_key: SecretStr | None = Field(None, description="Secret key of the S3 server.")
    s3_region: str = Field("us-east-1", description="Region of the S3 server.")
    max_file_bytes: int = Field(
        64 * 1024 * 1024, ge=1024, description="Size of the largest file that may be uploaded, in bytes."
    )
    batch_concurrency: int = Field(16, ge=1, le=1024, description="Requests of one batch that run at the same time.")
    max_body_bytes: int = Field(
        2 * 1024 * 1024,
        ge=1024,
        description="Size of the largest request body, in bytes, compressed or not; larger ones are refused.",
    )
    max_open_requests: int = Field(
        10_000, ge=1, description="Requests that the gateway holds at the same time; more are refused with Retry-After."
    )
    body_timeout_s: float = Field(30.0, gt=0, description="Seconds in which a request must arrive completely.")
    request_timeout_s: float = Field(
        900.0, gt=0, description="Seconds in which an answer must be complete, counted from the request."
    )
    stall_timeout_s: float = Field(
        30.0, gt=0, description="Seconds without reading after which a client is disconnected."
    )
    linger_s: float = Field(
        0.0,
        ge=0,
        description="Seconds that a stopping gateway still accepts requests while `/readyz` already fails, so that load"
        " balancers notice.",
    )
    grpc_min_ping_s: float = Field(
        1.0,
        ge=0.01,
        description="Seconds that a gRPC client should leave between two keepalive pings. One that sends more than a"
        " few sooner is disconnected (`ENHANCE_YOUR_CALM`).",
    )
    drain_s: int = Field(
        30, ge=0, description="Seconds that running answers get when the gateway stops; then connections are closed."
    )
    router_patience_s: float = Field(
        5.0, gt=0, description="Seconds that requests wait while no router can be reached; then they get 503."
    )

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
