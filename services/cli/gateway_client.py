"""Asking the gateway's own REST API as an operator: keys and usage."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli.errors import CommandFailed

LIMIT_S = 30.0

BaseUrl = Annotated[str | None, typer.Option(help="default: the local cluster's")]
AdminKey = Annotated[str | None, typer.Option(envvar="TIDEGATE_ADMIN_KEY", help="default: the local cluster's")]


class GatewayApi:
    def __init__(self, data_dir: Path, base_url: str | None, admin_key: str | None) -> None:
        """Raises CommandFailed when neither address and key nor a local cluster is there."""
        self._url, self._key = _access(data_dir, base_url, admin_key)

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """The answer's document. Raises CommandFailed in the gateway's words."""
        return self._ask(
            "GET", path, params={name: value for name, value in (params or {}).items() if value is not None}
        )

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer's document. Raises CommandFailed in the gateway's words."""
        given = {name: value for name, value in (body or {}).items() if value is not None}
        return self._ask("POST", path, json=given)

    def _ask(self, method: str, path: str, **content: Any) -> Any:
        import httpx

        try:
            answer = httpx.request(
                method,
                f"{self._url.rstrip('/')}/{path}",
                headers={"authorization": f"Bearer {self._key}"},
                timeout=LIMIT_S,
                **content,
            )
        except httpx.TransportError as error:
            raise CommandFailed(
                f"{self._url} cannot be reached ({error}): is the cluster running? (tidegate status)"
            ) from None
        if answer.is_error:
            raise CommandFailed(f"{answer.status_code}: {_message(answer)}")
        return answer.json()


def _message(answer: Any) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return str(answer.text[:500])


def _access(data_dir: Path, base_url: str | None, admin_key: str | None) -> tuple[str, str]:
    from services.local import env_file
    from services.local.data_folder import DataFolder

    if base_url:
        if not admin_key:
            raise CommandFailed("--base-url needs --admin-key (or TIDEGATE_ADMIN_KEY)")
        return base_url, admin_key
    values = env_file.read(DataFolder.at(data_dir))
    return values["OPENAI_BASE_URL"], values["TIDEGATE_ADMIN_KEY"]
