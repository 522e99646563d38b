"""Tenants and their API keys, made on the command line."""

from tests.support.cluster import RunningCluster, tidegate


def new_key(cluster: RunningCluster, tenant: str) -> str:
    """Makes the tenant, unless there is one of that name, and returns a fresh key of it."""
    tenant_made = tidegate(cluster.folder, "keys", "tenant", tenant)
    assert tenant_made.returncode == 0, tenant_made.stderr
    key_made = tidegate(cluster.folder, "keys", "create", "lesson", "--tenant", tenant)
    assert key_made.returncode == 0, key_made.stderr
    return key_made.stdout.strip()
