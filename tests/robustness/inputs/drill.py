"""One run: so many cases to a real cluster, then a look at what is left of them there."""

import httpx

from tests.robustness.inputs.http_cases import HttpCase, http_cases
from tests.robustness.inputs.rpc_cases import rpc_cases
from tests.robustness.inputs.traffic import send_http, send_rpc
from tests.robustness.inputs.verdict import Verdict, judge
from tests.robustness.leftovers import leftovers
from tests.robustness.view import View
from tests.support.cluster import RunningCluster

MODEL = "tide"
# A small context: what asks for all of it still ends soon.
CONFIG = """
pools:
  - name: tide
    model: simulated
    workers: 2
    engine: {kind: simulated, max_running: 32, context_tokens: 256, step_ms: 1, sequence_ms: 0, prefill_ms: 0}
"""


async def drill(cluster: RunningCluster, cases: int, seed: int) -> Verdict:
    """As many cases over REST as over gRPC."""
    base = cluster.rest.removesuffix("/v1")
    async with httpx.AsyncClient() as http:
        document = (await http.get(f"{base}/openapi.json")).json()
    before = cluster.pids()

    def key(case: HttpCase) -> str:
        return cluster.variables["TIDEGATE_ADMIN_KEY"] if case.target.startswith("/v1/admin") else cluster.key

    over_http = await send_http(base, key, http_cases(document, MODEL, cases - cases // 2, seed))
    over_rpc = await send_rpc(cluster.grpc, cluster.key, rpc_cases(MODEL, cases // 2, seed))
    return judge(over_http, over_rpc, await _left(cluster, before))


async def _left(cluster: RunningCluster, before: list[int]) -> list[str]:
    """What requests left, and processes that are no longer those that there were."""
    view = View.of(cluster)
    left = sorted(await leftovers(view))
    if open_requests := await view.metric("gateway", "tidegate_gateway_open_requests"):
        left.append(f"{open_requests} open requests of the gateway")
    return left + [f"process {pid} is gone" for pid in set(before) - set(cluster.pids())]
