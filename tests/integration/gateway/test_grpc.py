"""The public gRPC API: the same answers as REST, with health and reflection beside it."""

from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.gateway.rpc.server import NAME
from tests.integration.gateway.conftest import KEY, Cluster
from tests.support.fakes import MODEL, VERSION, text
from tests.support.wait import wait_until
from tidegate.inference.v1 import inference_pb2, inference_pb2_grpc
from tidegate.router.v1 import router_pb2

AUTHORIZED = (("authorization", f"Bearer {KEY}"),)


def chat(**changes: Any) -> inference_pb2.ChatRequest:
    message = inference_pb2.Message(role="user", content="Count.")
    return inference_pb2.ChatRequest(model=MODEL, messages=[message], **changes)


async def test_chat_streams(cluster: Cluster) -> None:
    stub = inference_pb2_grpc.InferenceServiceStub(cluster.channel)
    call = stub.Chat(chat(sampling=inference_pb2.Sampling(n=2, seed=3)), metadata=AUTHORIZED)
    initial = dict(await call.initial_metadata())
    assert initial["x-tidegate-model-version"] == VERSION
    assert initial["x-request-id"]
    answers = [answer async for answer in call]
    texts = ["", ""]
    for answer in answers:
        for choice in answer.choices:
            texts[choice.index] += choice.content
    assert texts == [text(5, 0), text(5, 1)]
    assert answers[-1].usage.completion_tokens == 10
    assert answers[0].id.startswith("chatcmpl-")
    await cluster.idle()


async def test_complete_and_models(cluster: Cluster) -> None:
    stub = inference_pb2_grpc.InferenceServiceStub(cluster.channel)
    request = inference_pb2.CompleteRequest(model=MODEL, prompt="Once", sampling=inference_pb2.Sampling(max_tokens=2))
    answers = [answer async for answer in stub.Complete(request, metadata=AUTHORIZED)]
    assert "".join(choice.text for answer in answers for choice in answer.choices) == text(2)
    models = await stub.ListModels(inference_pb2.ListModelsRequest(), metadata=AUTHORIZED)
    assert [model.id for model in models.models] == [MODEL]


async def test_cancelling_frees_the_slot(cluster: Cluster) -> None:
    cluster.worker.behaviour.hang_after = 2
    stub = inference_pb2_grpc.InferenceServiceStub(cluster.channel)
    call = stub.Chat(chat(), metadata=AUTHORIZED)
    await call.read()
    call.cancel()
    await wait_until(lambda: cluster.worker.cancels, description="the worker sees Cancel", timeout=1)
    await wait_until(lambda: cluster.router.finishes, description="the router sees Finish", timeout=1)
    assert cluster.router.finishes[0].outcome == router_pb2.OUTCOME_CANCELLED


async def test_deadline_of_the_caller_is_kept(cluster: Cluster) -> None:
    cluster.worker.behaviour.hang_after = 0
    stub = inference_pb2_grpc.InferenceServiceStub(cluster.channel)
    call = stub.Chat(chat(), metadata=AUTHORIZED, timeout=0.5)
    assert await call.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert 0 < cluster.router.submits[0].timeout_ms <= 500
    await wait_until(lambda: cluster.router.finishes, description="the router sees Finish", timeout=1)


async def test_health_and_reflection(cluster: Cluster) -> None:
    health = health_pb2_grpc.HealthStub(cluster.channel)

    async def serving() -> bool:
        answer = await health.Check(health_pb2.HealthCheckRequest(service=NAME))
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    await wait_until(serving, description="gRPC health says SERVING")
    reflection = reflection_pb2_grpc.ServerReflectionStub(cluster.channel)
    ask = reflection_pb2.ServerReflectionRequest(list_services="")
    answers = reflection.ServerReflectionInfo(iter([ask]))
    listed = [service.name async for answer in answers for service in answer.list_services_response.service]
    assert NAME in listed
