"""The Open Inference Protocol, over gRPC and REST."""

import grpc
import httpx
import pytest

from services.gateway.app import GatewayApp
from tests.integration.gateway.conftest import KEY, Cluster, Started, settings
from tests.support.fakes import MODEL, VERSION
from tidegate.openinference.v2 import open_inference_pb2 as pb
from tidegate.openinference.v2.open_inference_pb2_grpc import GRPCInferenceServiceStub

AUTHORIZED = (("authorization", f"Bearer {KEY}"),)


async def test_probes_need_no_key_over_grpc(cluster: Cluster) -> None:
    stub = GRPCInferenceServiceStub(cluster.channel)
    assert (await stub.ServerLive(pb.ServerLiveRequest())).live
    assert (await stub.ServerReady(pb.ServerReadyRequest())).ready
    assert (await stub.ServerMetadata(pb.ServerMetadataRequest())).name == "tidegate"


async def test_models_over_grpc(cluster: Cluster) -> None:
    stub = GRPCInferenceServiceStub(cluster.channel)
    request = pb.ModelReadyRequest(name=MODEL, version=VERSION)
    assert (await stub.ModelReady(request, metadata=AUTHORIZED)).ready
    told = await stub.ModelMetadata(pb.ModelMetadataRequest(name=MODEL), metadata=AUTHORIZED)
    assert (told.name, list(told.versions)) == (MODEL, [VERSION])
    assert [tensor.datatype for tensor in (*told.inputs, *told.outputs)] == ["BYTES", "BYTES"]


async def test_refusals_over_grpc(cluster: Cluster) -> None:
    stub = GRPCInferenceServiceStub(cluster.channel)
    calls = (
        (stub.ModelReady(pb.ModelReadyRequest(name=MODEL)), "UNAUTHENTICATED"),
        (stub.ModelReady(pb.ModelReadyRequest(name="nobody"), metadata=AUTHORIZED), "NOT_FOUND"),
        (stub.ModelMetadata(pb.ModelMetadataRequest(name=MODEL, version="old"), metadata=AUTHORIZED), "NOT_FOUND"),
        (stub.ModelInfer(pb.ModelInferRequest(model_name=MODEL), metadata=AUTHORIZED), "UNIMPLEMENTED"),
    )
    for call, code in calls:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refused.value.code().name == code
        assert refused.value.details()


async def test_the_same_over_rest(cluster: Cluster) -> None:
    async with httpx.AsyncClient(base_url=cluster.http.base_url) as stranger:
        assert (await stranger.get("/v2")).json()["name"] == "tidegate"
        assert (await stranger.get("/v2/health/live")).json() == {"live": True}
        assert (await stranger.get("/v2/health/ready")).json() == {"ready": True}
        assert (await stranger.get(f"/v2/models/{MODEL}")).status_code == 401
    assert (await cluster.http.get(f"/v2/models/{MODEL}")).json()["versions"] == [VERSION]
    assert (await cluster.http.get(f"/v2/models/{MODEL}/ready")).json() == {"ready": True}
    assert (await cluster.http.get(f"/v2/models/{MODEL}/versions/old/ready")).status_code == 404
    assert (await cluster.http.get("/v2/models/nobody")).status_code == 404
    infer = await cluster.http.post(f"/v2/models/{MODEL}/infer", json={"inputs": []})
    assert (infer.status_code, infer.json()["error"]["code"]) == (405, "method_not_allowed")


async def test_a_gateway_without_a_router_is_not_ready(start: Started) -> None:
    gateway: GatewayApp = await start(GatewayApp(settings("127.0.0.1:1")))
    async with grpc.aio.insecure_channel(gateway.address) as channel:
        stub = GRPCInferenceServiceStub(channel)
        assert not (await stub.ServerReady(pb.ServerReadyRequest())).ready
        assert (await stub.ServerLive(pb.ServerLiveRequest())).live
    async with httpx.AsyncClient(base_url=f"http://{gateway.http_address}") as http:
        assert (await http.get("/v2/health/ready")).status_code == 503
