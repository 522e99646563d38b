"""Tenants and their API keys, made through the admin API. `tidegate keys` does the same on the command line."""

import httpx

from tests.support.cluster import RunningCluster


def new_key(cluster: RunningCluster, tenant: str) -> str:
    """Makes the tenant, unless there is one of that name, and returns a fresh key of it."""
    admin = {"authorization": f"Bearer {cluster.variables['TIDEGATE_ADMIN_KEY']}"}
    with httpx.Client(base_url=f"{cluster.rest}/admin/", headers=admin, timeout=30) as http:
        http.post("tenants", json={"name": tenant}).raise_for_status()
        key_made = http.post("keys", json={"name": "lesson", "tenant": tenant}).raise_for_status()
    return str(key_made.json()["key"])
