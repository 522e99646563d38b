"""What `tidegate up` was asked for; travels to the detached supervisor as JSON."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

EngineKind = Literal["vllm", "simulated"]


class UpOptions(BaseModel):
    """None: not named by the person. Paths are absolute."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Path
    working_dir: Path = Field(description="where tidegate.yaml is looked for")
    config: Path | None = None
    engine: EngineKind | None = None
    model: str | None = None
    workers: int | None = Field(None, ge=1, le=64)
    routers: int = Field(1, ge=1, le=16)
    rest_port: int | None = Field(None, ge=1, le=65535)
    grpc_port: int | None = Field(None, ge=1, le=65535)
