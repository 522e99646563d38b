"""One drill: sends generated requests to a cluster, and looks for what they left behind."""

import httpx

from tests.robustness.cluster_view import ClusterView
from tests.robustness.inputs.batch_cases import send_batches
from tests.robustness.inputs.client_cases import client_cases
from tests.robustness.inputs.http_cases import HttpCase, http_cases
from tests.robustness.inputs.invariant_checker import Report, check
from tests.robustness.inputs.rpc_cases import rpc_cases
from tests.robustness.inputs.sender import send_http, send_rpc
from tests.robustness.leak_checker import leaks
from tests.support.cluster import RunningCluster

MODEL = "small"
CASES_FOR_A_BATCH = 300
"""There is one batch of generated lines for so many cases."""
CONFIG = """
pools:
  - name: small
    model: simulated
    workers: 2
    engine: {kind: simulated, max_running: 32, context_tokens: 1024, step_ms: 1, sequence_ms: 0, prefill_ms: 0}
"""
"""A small context, so that a request for all of it ends soon. The tools of clients need some of it."""


async def drill(cluster: RunningCluster, cases: int, seed: int) -> Report:
    """Sends a third of the cases as clients write them, a third as the OpenAPI document has them, a third over gRPC."""
    base = cluster.rest.removesuffix("/v1")
    async with httpx.AsyncClient() as http:
        document = (await http.get(f"{base}/openapi.json")).json()
    before = cluster.pids()

    def key(case: HttpCase) -> str:
        return cluster.variables["TIDEGATE_ADMIN_KEY"] if case.target.startswith("/v1/admin") else cluster.key

    third = cases // 3
    written = [*client_cases(MODEL, third, seed), *http_cases(document, MODEL, cases - 2 * third, seed)]
    over_http = await send_http(base, key, written)
    over_rpc = await send_rpc(cluster.grpc, cluster.key, rpc_cases(MODEL, third, seed))
    batches = await send_batches(cluster, MODEL, max(1, cases // CASES_FOR_A_BATCH), seed)
    return check(over_http, over_rpc, [*batches, *await _leaked(cluster, before)])


async def _leaked(cluster: RunningCluster, before: list[int]) -> list[str]:
    """What requests left behind, and processes that are gone."""
    view = ClusterView.of(cluster)
    leaked = sorted(await leaks(view))
    if open_requests := await view.metric("gateway", "tidegate_gateway_open_requests"):
        leaked.append(f"{open_requests} open requests of the gateway")
    return leaked + [f"process {pid} is gone" for pid in set(before) - set(cluster.pids())]
