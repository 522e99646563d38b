"""What a router process is told."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from services.router.redis_connection import RedisAccess
from services.router.redis_url import RedisUrl
from services.shared.settings import PREFIX, ProcessSettings, WrongSettings

_RedisUrl = Annotated[RedisUrl, BeforeValidator(lambda v: RedisUrl.parse(v) if isinstance(v, str) else v)]


class RouterSettings(ProcessSettings):
    redis_url: _RedisUrl = Field(description="URL of Redis or Valkey, such as redis://:password@127.0.0.1:6379/0")
    redis_tls_authority: Path | None = Field(
        None, description="PEM of who signs Redis' certificates; else the system's"
    )
    redis_tls_certificate: Path | None = Field(None, description="PEM that the router shows to Redis")
    redis_tls_key: Path | None = None
    redis_sentinel_username: str | None = None
    redis_sentinel_password: SecretStr | None = Field(None, description="what the Sentinels themselves ask for")
    session_lease_ms: int = Field(5_000, ge=500, description="a gateway not heard of for this long has lost its work")
    worker_lease_ms: int = Field(5_000, ge=500, description="a worker not heard of for this long is lost")
    heartbeat_ms: int = Field(1_000, ge=50, description="how often workers report")
    detach_grace_ms: int = Field(1_000, ge=0, description="time for a worker to come back after its stream broke")
    no_worker_grace_ms: int = Field(30_000, ge=0, description="a pool without workers still queues for this long")
    rollout_worker_limit_s: float = Field(
        900.0, gt=0, description="a worker that takes longer to change its weights fails the rollout"
    )
    upkeep_ms: int = Field(250, ge=10, description="how often leases are renewed and reaped")

    @model_validator(mode="after")
    def _redis_is_whole(self) -> Self:
        if (self.redis_tls_certificate is None) != (self.redis_tls_key is None):
            raise ValueError("redis_tls_certificate and redis_tls_key go together")
        if (self.redis_tls_authority or self.redis_tls_key) and not self.redis_url.tls:
            raise ValueError("redis_tls_*: the URL of Redis must begin with rediss for TLS")
        return self

    def redis(self) -> RedisAccess:
        """Raises WrongSettings for a file that is not there."""
        for name in ("redis_tls_authority", "redis_tls_certificate", "redis_tls_key"):
            if (path := getattr(self, name)) and not path.is_file():
                raise WrongSettings(f"{PREFIX}{name.upper()} = {path}: there is no such file")
        password = self.redis_sentinel_password
        return RedisAccess(
            self.redis_url,
            authority=self.redis_tls_authority,
            certificate=self.redis_tls_certificate,
            key=self.redis_tls_key,
            sentinel_username=self.redis_sentinel_username,
            sentinel_password=password.get_secret_value() if password else None,
        )
