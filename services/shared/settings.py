"""Settings of a process from its environment. A wrong setting stops the start; the message names key and value."""

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Self, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from services.shared.certificates import Tls, WrongCertificate

PREFIX = "TIDEGATE_"
FILE = "_FILE"
MAX_FILE_CHARACTERS = 65_536
"""Most that a file with a setting may hold."""
TOP_LEVEL = "(top level)"
_URL_SECRET = re.compile(r"(?<=://)[^/\s]*@")

Address = Annotated[str, Field(pattern=r"^[^\s:]+:\d{1,5}$|^\[[0-9a-f:]+\]:\d{1,5}$")]
"""host:port"""
Addresses = Annotated[tuple[Address, ...], BeforeValidator(lambda v: tuple(v.split(",")) if isinstance(v, str) else v)]
"""host:port, several with commas between."""


LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class Settings(BaseModel):
    """Base of every process's settings.

    The field `api_key` is read from the variable TIDEGATE_API_KEY, or from the file that TIDEGATE_API_KEY_FILE names.
    """

    # Built when a process reads them: it never uses the settings that its own ones extend.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=False, defer_build=True)


class TlsSettings(Settings):
    """Mutual TLS for the gRPC between the processes: all three files, or none."""

    tls_certificate: Path | None = Field(
        None, description="PEM file with the certificate of this process for internal gRPC. Default: no TLS."
    )
    tls_key: Path | None = Field(None, description="PEM file with the private key of that certificate.")
    tls_authority: Path | None = Field(
        None, description="PEM file with the authority that signed the certificates of all processes."
    )
    tls_name: str | None = Field(
        None,
        min_length=1,
        description="Name that the certificates of all processes carry, as a DNS name. Peers are checked for it, and"
        " not for the address at which they are reached. Default: the address.",
    )

    @model_validator(mode="after")
    def _tls_is_complete(self) -> Self:
        parts = (self.tls_certificate, self.tls_key, self.tls_authority)
        if any(parts) and not all(parts):
            raise ValueError("tls_certificate, tls_key and tls_authority go together")
        if self.tls_name and not all(parts):
            raise ValueError("tls_name is for tls_certificate, tls_key and tls_authority, which are not set")
        return self

    def tls(self) -> Tls | None:
        """The files for internal gRPC, or None for plain text.

        Raises:
            WrongSettings: Other processes would refuse this certificate.
        """
        if not (self.tls_certificate and self.tls_key and self.tls_authority):
            return None
        files = Tls(
            certificate=self.tls_certificate, key=self.tls_key, authority=self.tls_authority, name=self.tls_name
        )
        try:
            files.check(datetime.now(UTC))
        except WrongCertificate as error:
            raise WrongSettings(f"{PREFIX}TLS_CERTIFICATE, _KEY, _AUTHORITY: {error}") from None
        return files


class LogSettings(Settings):
    """How much a process logs."""

    log_level: LogLevel = Field("INFO", description="Least severe messages that are logged.")


class ProcessSettings(TlsSettings, LogSettings):
    """Settings that gateway, router and worker share. Addresses are host:port."""

    config: Path = Field(description="Path of tidegate.yaml.")
    listen: Address = Field(description="host:port on which the process listens for gRPC.")
    http_listen: Address = Field(
        description="host:port on which the process listens for HTTP: probes and metrics; the REST API of the gateway."
    )


S = TypeVar("S", bound=Settings)
M = TypeVar("M", bound=BaseModel)


class WrongSettings(Exception):
    """The configuration is wrong. The message names each wrong key, its value, and what is expected."""


def read(kind: type[S], environ: Mapping[str, str] = os.environ) -> S:
    """Reads the variables that the fields of `kind` name, and the files that `..._FILE` names.

    Raises:
        WrongSettings: A variable is missing or wrong, or a file cannot be read.
    """
    found = {name: _value(PREFIX + name.upper(), environ) for name in kind.model_fields}
    given = {name: value for name, value in found.items() if value is not None}
    return check(kind, given, lambda path: "settings" if path == TOP_LEVEL else PREFIX + path.upper())


def _value(variable: str, environ: Mapping[str, str]) -> str | None:
    """What a variable says, or the file that its sibling names. A newline at the end of a file is left out."""
    if (file := environ.get(variable + FILE)) is None:
        return environ.get(variable)
    if variable in environ:
        raise WrongSettings(f"{variable} and {variable}{FILE} are both set: leave one out")
    try:
        with Path(file).open(encoding="utf-8") as opened:
            value = opened.read(MAX_FILE_CHARACTERS + 1)
    except (OSError, ValueError) as error:
        raise WrongSettings(f"{variable}{FILE} = {file}: {_why(error)}") from None
    if len(value) > MAX_FILE_CHARACTERS:
        raise WrongSettings(f"{variable}{FILE} = {file}: it has more than {MAX_FILE_CHARACTERS} characters")
    return value.removesuffix("\n")


def _why(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "it is no text in UTF-8"


def check(kind: type[M], given: Any, name_of: Callable[[str], str] = str) -> M:
    """Validates `given` as `kind`.

    Args:
        kind: The model.
        given: What is validated, usually a mapping.
        name_of: Turns the path of a key, such as pools.0.name, into the name that the message shows.

    Raises:
        WrongSettings: The message says for each wrong key what to change.
    """
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        problems = _causes(error.errors())
        raise WrongSettings("\n".join(_explain(problem, kind, name_of) for problem in problems)) from None


def _causes(problems: Sequence[Any]) -> list[Any]:
    """Leaves out lists that are too short only because their items are wrong: pydantic does not count those."""
    return [
        one
        for one in problems
        if one["type"] != "too_short"
        or not any(one["loc"] == other["loc"][: len(one["loc"])] for other in problems if other is not one)
    ]


def _explain(problem: Any, kind: type[BaseModel], name_of: Callable[[str], str]) -> str:
    path = ".".join(str(part) for part in problem["loc"]) or TOP_LEVEL
    key = name_of(path)
    if problem["type"] == "missing":
        return f"{key} is not set: {_description(kind, problem['loc'])}"
    if _has_keys(problem["input"]):
        # The problem is about several keys together, and the message names them. The values of other keys are not
        # shown: some are secret.
        return f"{key}: {_reason(problem)}"
    # Below `args` any name may stand, also a misspelt one of a secret.
    secret = any(word in path for word in ("key", "secret", "password")) or "args" in problem["loc"]
    value = "(hidden)" if secret else _URL_SECRET.sub("***@", repr(problem["input"]))
    return f"{key} = {value}: {_reason(problem)}"


def _has_keys(given: Any) -> bool:
    return isinstance(given, dict) or (isinstance(given, list) and any(isinstance(item, dict) for item in given))


def _reason(problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        return "unknown key"
    return str(problem["msg"]).removeprefix("Value error, ")  # pydantic's words before a message of ours


def _description(kind: type[BaseModel], location: tuple[int | str, ...]) -> str:
    """The description of the field at `location`, which also has list indices and the tags of unions."""
    models, description = {kind}, None
    for part in location:
        fields = [model.model_fields[part] for model in models if isinstance(part, str) and part in model.model_fields]
        if not fields:
            models = {model for model in models if _has_tag(model, part)} or models
        description = fields[0].description if fields else None
        models = {model for field in fields for model in _models_in(field.annotation)} or models
    return description or "it is required"


def _has_tag(model: type[BaseModel], part: int | str) -> bool:
    """Whether a model is the one of a union that has this tag."""
    return isinstance(part, str) and any(part in get_args(field.annotation) for field in model.model_fields.values())


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a type consists of, such as A and B for tuple[A | B, ...]."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def split(address: str) -> tuple[str, int]:
    """Splits host:port. An IPv6 host loses its brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def stop(error: WrongSettings) -> NoReturn:
    """Ends the process with the message and exit status 2."""
    sys.stderr.write(f"wrong configuration:\n{error}\n")
    raise SystemExit(2)
