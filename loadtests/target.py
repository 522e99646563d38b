"""Where the load goes: an OpenAI-compatible server and its key."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from services.shared.settings import WrongSettings

CHAT = "/chat/completions"
COMPLETIONS = "/completions"
EMBEDDINGS = "/embeddings"
MODELS = "/models"


@dataclass(frozen=True, slots=True)
class Target:
    """A server. `path` is the path of its API, such as /v1."""

    host: str
    port: int
    path: str
    tls: bool
    api_key: str

    @classmethod
    def of(cls, base_url: str, api_key: str) -> "Target":
        """From a base URL as OpenAI clients take it, with the /v1.

        Raises:
            WrongSettings: It is not such a URL.
        """
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise WrongSettings(f"--base-url = {base_url!r}: expected is http(s)://host[:port]/v1")
        tls = parts.scheme == "https"
        return cls(parts.hostname, parts.port or (443 if tls else 80), parts.path.rstrip("/"), tls, api_key)

    @property
    def base_url(self) -> str:
        """The URL with the /v1."""
        return f"{'https' if self.tls else 'http'}://{self._authority}{self.path}"

    @property
    def _authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def ssl(self) -> ssl.SSLContext | None:
        """The TLS context; None for http."""
        return ssl.create_default_context() if self.tls else None

    def post(self, path: str, document: object) -> bytes:
        """The bytes of a POST request with a JSON body."""
        body = orjson.dumps(document)
        fields = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return self._head("POST", path, fields) + body

    def get(self, path: str) -> bytes:
        """The bytes of a GET request."""
        return self._head("GET", path, "")

    def _head(self, method: str, path: str, fields: str) -> bytes:
        return (
            f"{method} {self.path}{path} HTTP/1.1\r\nHost: {self._authority}\r\n"
            f"Authorization: Bearer {self.api_key}\r\nAccept: application/json, text/event-stream\r\n{fields}\r\n"
        ).encode()


def access(base_url: str | None, api_key: str | None, local_env: Path) -> Target:
    """The server that the options name, else the local cluster of `local_env`.

    Raises:
        WrongSettings: The key is missing, or no cluster was started.
    """
    if base_url:
        if not api_key:
            raise WrongSettings("--api-key is not set: --base-url needs it (or OPENAI_API_KEY)")
        return Target.of(base_url, api_key)
    variables = _read(local_env)
    return Target.of(variables["OPENAI_BASE_URL"], api_key or variables["OPENAI_API_KEY"])


def _read(local_env: Path) -> dict[str, str]:
    try:
        lines = local_env.read_text().splitlines()
    except OSError:
        raise WrongSettings(
            f"no cluster was started here ({local_env} does not exist): start one with `tidegate up`, "
            "or name a server with --base-url and --api-key"
        ) from None
    variables = {name: value for name, _, value in (line.partition("=") for line in lines if "=" in line)}
    if missing := {"OPENAI_BASE_URL", "OPENAI_API_KEY"} - variables.keys():
        raise WrongSettings(f"{local_env}: {', '.join(sorted(missing))} is missing")
    return variables
