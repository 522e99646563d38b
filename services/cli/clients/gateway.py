"""A client of the gateway's REST API for operators: keys, tenants and usage."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.cli.errors import CommandFailed

ANSWER_LIMIT_S = 30.0


class GatewayApi:
    """The REST API of one gateway.

    Args:
        data_dir: Data folder of the local cluster. It gives address and key when `base_url` is None.
        base_url: URL of the API, such as http://127.0.0.1:8080/v1.
        admin_key: The operator's key; required with `base_url`.

    Raises:
        CommandFailed: `base_url` is given without `admin_key`.
        ClusterError: `base_url` is None and no cluster was started in `data_dir`.
    """

    def __init__(self, data_dir: Path, base_url: str | None, admin_key: str | None) -> None:
        self._url, self._key = _access(data_dir, base_url, admin_key)

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """Sends a GET request; parameters that are None are left out.

        Returns:
            The JSON document of the response.

        Raises:
            CommandFailed: The gateway cannot be reached, or it refused the request; then the message is the gateway's.
        """
        given = {name: value for name, value in (params or {}).items() if value is not None}
        return self._request("GET", path, params=given)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Sends a POST request with a JSON body; fields that are None are left out.

        Returns:
            The JSON document of the response.

        Raises:
            CommandFailed: The gateway cannot be reached, or it refused the request; then the message is the gateway's.
        """
        given = {name: value for name, value in (body or {}).items() if value is not None}
        return self._request("POST", path, json=given)

    def _request(self, method: str, path: str, **content: Any) -> Any:
        import httpx

        try:
            response = httpx.request(
                method,
                f"{self._url.rstrip('/')}/{path}",
                headers={"authorization": f"Bearer {self._key}"},
                timeout=ANSWER_LIMIT_S,
                **content,
            )
        except httpx.TransportError as error:
            raise CommandFailed(
                f"{self._url} cannot be reached ({error}): is the cluster running? (tidegate status)"
            ) from None
        if response.is_error:
            raise CommandFailed(f"{response.status_code}: {_message(response)}")
        return response.json()


def _message(response: Any) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return str(response.text[:500])


def _access(data_dir: Path, base_url: str | None, admin_key: str | None) -> tuple[str, str]:
    from services.local import env_file
    from services.local.data_folder import DataFolder

    if base_url:
        if not admin_key:
            raise CommandFailed("--base-url needs --admin-key (or TIDEGATE_ADMIN_KEY)")
        return base_url, admin_key
    values = env_file.read(DataFolder.at(data_dir))
    return values["OPENAI_BASE_URL"], values["TIDEGATE_ADMIN_KEY"]
