"""Makes the chart's Secrets with random values, once. What exists is kept: old volumes need their old passwords.

It runs in a Job with the standard library alone, and may only create Secrets and read and complete those of the plan.
"""

import base64
import json
import os
import secrets
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT_S = 30


class Api:
    """The Secrets of one namespace in the Kubernetes API."""

    def __init__(self, url: str, namespace: str, token: str, context: ssl.SSLContext | None = None) -> None:
        """`url`: of the API server; `token`: of the service account."""
        self._secrets = f"{url}/api/v1/namespaces/{namespace}/secrets"
        self._token, self._context = token, context

    def get(self, name: str) -> dict[str, Any] | None:
        """Returns a Secret, or None."""
        try:
            return self._send("GET", f"/{name}")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def create(self, secret: dict[str, Any]) -> None:
        """Creates a Secret. Raises HTTPError, 409 if it exists."""
        self._send("POST", "", secret)

    def complete(self, name: str, data: dict[str, str]) -> None:
        """Adds keys to a Secret."""
        self._send("PATCH", f"/{name}", {"data": data})

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request = urllib.request.Request(  # noqa: S310 (the API server's own address)
            self._secrets + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": kind},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=self._context) as response:  # noqa: S310
            found: dict[str, Any] = json.load(response)
            return found


def make(api: Api, plan: dict[str, dict[str, str]], labels: dict[str, str]) -> None:
    """Makes what is missing.

    Args:
        api: The namespace.
        plan: Secrets by name. Each has a text for every key: empty for a random value, else a template that names other
            keys of the same Secret in braces.
        labels: Labels of new Secrets.
    """
    for name, keys in plan.items():
        known = api.get(name)
        data = {key: base64.b64decode(value).decode() for key, value in ((known or {}).get("data") or {}).items()}
        missing = [key for key in keys if key not in data]
        data |= {key: secrets.token_hex(20) for key in missing if not keys[key]}
        data |= {key: keys[key].format_map(data) for key in missing if keys[key]}
        new = {key: base64.b64encode(data[key].encode()).decode() for key in missing}
        if known is None:
            api.create(
                {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": labels}, "data": new}
            )
        elif new:
            api.complete(name, new)
        print(f"{name}: {'made' if known is None else 'completed: ' + ', '.join(missing) if new else 'kept'}")  # noqa: T201


def main() -> None:
    """Reads the plan from the environment."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    address = f"[{host}]" if ":" in host else host
    api = Api(
        f"https://{address}:{port}",
        (ACCOUNT / "namespace").read_text(),
        (ACCOUNT / "token").read_text(),
        ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt")),
    )
    try:
        make(api, json.loads(os.environ["PLAN"]), json.loads(os.environ["LABELS"]))
    except urllib.error.URLError as error:
        # A second Job may have been first (409): the next try finds its Secrets.
        sys.exit(f"the Kubernetes API did not make the Secrets, the Job tries again: {error}")


if __name__ == "__main__":
    main()
