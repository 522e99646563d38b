"""Process settings from the environment; a wrong one stops the start with a message that names key and value."""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from services.shared.rpc import Tls

PREFIX = "TIDEGATE_"
TOP_LEVEL = "(top level)"
_URL_SECRET = re.compile(r"(?<=://)[^/\s]*@")

Address = Annotated[str, Field(pattern=r"^[^\s:]+:\d{1,5}$|^\[[0-9a-f:]+\]:\d{1,5}$")]
Addresses = Annotated[tuple[Address, ...], BeforeValidator(lambda v: tuple(v.split(",")) if isinstance(v, str) else v)]
"""host:port, several with commas between."""


LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class Settings(BaseModel):
    """Base of every process's settings: field `api_key` is read from TIDEGATE_API_KEY."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=False)


class TlsSettings(Settings):
    """Keys of those who speak internal gRPC; all three or none."""

    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_authority: Path | None = None

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        parts = (self.tls_certificate, self.tls_key, self.tls_authority)
        if any(parts) and not all(parts):
            raise ValueError("tls_certificate, tls_key and tls_authority go together")
        return self

    def tls(self) -> Tls | None:
        """Keys for internal gRPC, or None for plain text."""
        if self.tls_certificate and self.tls_key and self.tls_authority:
            return Tls(certificate=self.tls_certificate, key=self.tls_key, authority=self.tls_authority)
        return None


class LogSettings(Settings):
    log_level: LogLevel = "INFO"


class ProcessSettings(TlsSettings, LogSettings):
    """What every service is told. Addresses are host:port; the host is loopback unless the operator says otherwise."""

    config: Path = Field(description="path of tidegate.yaml")
    listen: Address = Field(description="host:port for gRPC")
    http_listen: Address = Field(description="host:port for HTTP: probes and metrics, and the gateway's REST API")


S = TypeVar("S", bound=Settings)
M = TypeVar("M", bound=BaseModel)


class WrongSettings(Exception):
    """The message names each wrong key, its value and what is wanted."""


def read(kind: type[S], environ: Mapping[str, str] = os.environ) -> S:
    """Builds `kind` from the variables that its fields name. Raises WrongSettings."""
    given = {name: environ[PREFIX + name.upper()] for name in kind.model_fields if PREFIX + name.upper() in environ}
    return check(kind, given, lambda path: "settings" if path == TOP_LEVEL else PREFIX + path.upper())


def check(kind: type[M], given: Any, name_of: Any = str) -> M:
    """Validates `given` as `kind`. Raises WrongSettings in words an operator can act on."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise WrongSettings("\n".join(_explain(problem, kind, name_of) for problem in error.errors())) from None


def _explain(problem: Any, kind: type[BaseModel], name_of: Any) -> str:
    path = ".".join(str(part) for part in problem["loc"]) or TOP_LEVEL
    key = name_of(path)
    if problem["type"] == "missing":
        return f"{key} is not set: {_describe(kind, path)}"
    if isinstance(problem["input"], dict):
        # Of several keys together, which the message names; the rest of them, secrets too, is nobody's business.
        return f"{key}: {problem['msg']}"
    secret = any(word in path for word in ("key", "secret", "password"))
    value = "(hidden)" if secret else _URL_SECRET.sub("***@", repr(problem["input"]))
    return f"{key} = {value}: {problem['msg']}"


def _describe(kind: type[BaseModel], path: str) -> str:
    field = kind.model_fields.get(path.split(".")[0])
    return (field.description if field else None) or "it is required"


def split(address: str) -> tuple[str, int]:
    """host:port as (host, port)."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def stop(error: WrongSettings) -> NoReturn:
    """Ends the process with the message and status 2, as a command does when called wrongly."""
    sys.stderr.write(f"wrong configuration:\n{error}\n")
    raise SystemExit(2)
