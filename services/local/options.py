"""The options of `tidegate up`. They travel to a detached supervisor as JSON."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

EngineKind = Literal["vllm", "simulated"]


class UpOptions(BaseModel):
    """The options. None means that the person did not give the option. Paths are absolute."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Path
    working_dir: Path = Field(description="Folder in which tidegate.yaml is looked for when --config is not given.")
    config: Path | None = None
    engine: EngineKind | None = None
    model: str | None = None
    workers: int | None = Field(None, ge=1, le=64)
    routers: int = Field(1, ge=1, le=16)
    database_url: str | None = None
    rest_port: int | None = Field(None, ge=1, le=65535)
    grpc_port: int | None = Field(None, ge=1, le=65535)

    @field_validator("database_url")
    @classmethod
    def _is_of_postgresql(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith("postgresql"):
            raise ValueError("must be a PostgreSQL URL, such as postgresql://USER@HOST:5432/NAME")
        return url
