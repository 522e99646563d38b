"""Settings of the router, from its environment."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from services.router.redis.connection import RedisAccess
from services.router.redis.url import RedisUrl
from services.shared.settings import PREFIX, ProcessSettings, WrongSettings

_RedisUrl = Annotated[RedisUrl, BeforeValidator(lambda v: RedisUrl.parse(v) if isinstance(v, str) else v)]


class RouterSettings(ProcessSettings):
    """Settings of the router."""

    redis_url: _RedisUrl = Field(
        description="URL of Redis or Valkey, such as redis://:password@127.0.0.1:6379/0; rediss for TLS."
    )
    redis_password_file: Path | None = Field(
        None,
        description="File with the password of Redis, which is read again for each connection: a new one needs no"
        " restart. Default: the password in the URL.",
    )
    redis_tls_authority: Path | None = Field(
        None, description="PEM file with the authority that signed the certificates of Redis. Default: the system's."
    )
    redis_tls_certificate: Path | None = Field(
        None, description="PEM file with the client certificate for Redis. Default: none."
    )
    redis_tls_key: Path | None = Field(None, description="PEM file with the private key of that certificate.")
    redis_sentinel_username: str | None = Field(None, description="User name for the Sentinels. Default: none.")
    redis_sentinel_password: SecretStr | None = Field(None, description="Password for the Sentinels. Default: none.")
    session_lease_ms: int = Field(
        5_000,
        ge=500,
        description="Milliseconds without a sign of life after which a gateway loses its session and its requests.",
    )
    worker_lease_ms: int = Field(
        5_000, ge=500, description="Milliseconds without a heartbeat after which a worker counts as lost."
    )
    heartbeat_ms: int = Field(1_000, ge=50, description="Milliseconds between two heartbeats of a worker.")
    detach_grace_ms: int = Field(
        1_000, ge=0, description="Milliseconds in which a worker may reconnect after its stream broke."
    )
    no_worker_grace_ms: int = Field(
        30_000,
        ge=0,
        description="Milliseconds that a pool without workers still queues requests, unless it scales from zero.",
    )
    rollout_worker_limit_s: float = Field(
        900.0,
        gt=0,
        description="Seconds that one worker may take to change its weights; then the rollout fails. A worker that is"
        " replaced may take this time to end and be started again, and again to be ready.",
    )
    upkeep_ms: int = Field(
        250,
        ge=10,
        description="Milliseconds between two rounds of maintenance, which renews leases and ends lapsed ones.",
    )

    @model_validator(mode="after")
    def _redis_is_whole(self) -> Self:
        if (self.redis_tls_certificate is None) != (self.redis_tls_key is None):
            raise ValueError("redis_tls_certificate and redis_tls_key go together")
        if self.redis_password_file and self.redis_url.password:
            raise ValueError("redis_url has a password, and redis_password_file another one: set one of them")
        if (self.redis_tls_authority or self.redis_tls_key) and not self.redis_url.tls:
            raise ValueError("redis_tls_*: the URL of Redis must begin with rediss for TLS")
        return self

    def redis(self) -> RedisAccess:
        """Raises WrongSettings for a file that is not there."""
        for name in ("redis_password_file", "redis_tls_authority", "redis_tls_certificate", "redis_tls_key"):
            if (path := getattr(self, name)) and not path.is_file():
                raise WrongSettings(f"{PREFIX}{name.upper()} = {path}: there is no such file")
        password = self.redis_sentinel_password
        return RedisAccess(
            self.redis_url,
            password_file=self.redis_password_file,
            authority=self.redis_tls_authority,
            certificate=self.redis_tls_certificate,
            key=self.redis_tls_key,
            sentinel_username=self.redis_sentinel_username,
            sentinel_password=password.get_secret_value() if password else None,
        )
