"""The public gRPC API: the same answers as REST, with health and reflection beside it."""

import asyncio
import struct
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from services.gateway.app import GatewayApp
from services.gateway.grpc.open_inference import SERVICE as OPEN_INFERENCE
from services.gateway.grpc.reflection import V1, V1ALPHA
from services.gateway.grpc.server import MAX_EARLY_PINGS, NAME
from services.shared.settings import split
from tests.integration.gateway.conftest import KEY, Cluster, Started, settings
from tests.support.fakes import CONTEXT_TOKENS, MODEL, VERSION, text
from tests.support.wait import wait_until
from tidegate.inference.v1 import inference_pb2, inference_pb2_grpc
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2

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
    request.ClearField("sampling")
    _ = [answer async for answer in stub.Complete(request, metadata=AUTHORIZED)]
    assert [start.sampling.max_tokens for start in cluster.worker.starts] == [2, 16]
    models = await stub.ListModels(inference_pb2.ListModelsRequest(), metadata=AUTHORIZED)
    assert [model.id for model in models.models] == [MODEL]


async def test_every_field_of_a_chat_reaches_the_worker(cluster: Cluster) -> None:
    def speak(delta: worker_pb2.Delta) -> None:
        delta.reasoning = "hm"
        delta.tool_calls.add(id="c2", name="look", arguments="{}")
        delta.logprobs.add(token=b"x", logprob=-0.5).top.add(token=b"y", logprob=-1.5)

    cluster.worker.behaviour.tokens, cluster.worker.behaviour.delta = 1, speak
    asked = chat(
        sampling=inference_pb2.Sampling(logit_bias={7: -3.5}, top_k=4, stop=["END"], stop_token_ids=[9], min_tokens=1),
        tools=[inference_pb2.Tool(name="look", parameters='{"type": "object"}'), inference_pb2.Tool(name="other")],
        tool_choice=inference_pb2.ToolChoice(mode="required", functions=["look"]),
        reasoning_effort="low",
        top_logprobs=1,
    )
    call = inference_pb2.ToolCall(id="c1", name="look", arguments="{}")
    asked.messages.add(role="assistant", tool_calls=[call])
    asked.messages.add(role="tool", content="sunny", tool_call_id="c1")
    stub = inference_pb2_grpc.InferenceServiceStub(cluster.channel)
    answers = [answer async for answer in stub.Chat(asked, metadata=AUTHORIZED)]
    first = answers[0].choices[0]
    assert (first.reasoning, first.tool_calls[0].name, first.logprobs[0].top[0].token) == ("hm", "look", b"y")
    start = cluster.worker.starts[0]
    assert (start.sampling.logit_bias[7], start.sampling.top_k, start.sampling.min_tokens) == (-3.5, 4, 1)
    assert (list(start.sampling.stop), list(start.sampling.stop_token_ids)) == (["END"], [9])
    assert start.sampling.top_logprobs == 1
    assert (start.chat.reasoning_effort, start.chat.tool_choice_json) == ("low", b'"required"')
    assert b"other" not in start.chat.tools_json
    assert start.chat.messages_json.count(b'"c1"') == 2
    assert start.chat.argument_schemas_json == b'{"look":{"type":"object","additionalProperties":{}}}'


async def test_a_structure_is_for_texts_and_not_for_forced_calls(cluster: Cluster) -> None:
    asked = chat(
        tools=[inference_pb2.Tool(name="look")],
        structure=inference_pb2.Structure(choices=inference_pb2.Choices(texts=["a", "b"])),
    )
    stub = inference_pb2_grpc.InferenceServiceStub(cluster.channel)
    assert [answer async for answer in stub.Chat(asked, metadata=AUTHORIZED)]
    assert cluster.worker.starts[0].sampling.grammar == 'root ::= "a" | "b"'
    asked.tool_choice.mode = "required"
    with pytest.raises(grpc.aio.AioRpcError, match="must be a call of a function"):
        [answer async for answer in stub.Chat(asked, metadata=AUTHORIZED)]


async def test_counting_tokens(cluster: Cluster) -> None:
    stub = inference_pb2_grpc.InferenceServiceStub(cluster.channel)
    counted = await stub.Tokenize(inference_pb2.TokenizeRequest(model=MODEL, prompt="ab"), metadata=AUTHORIZED)
    assert (list(counted.token_ids), counted.context_tokens) == ([97, 98], CONTEXT_TOKENS)
    request = inference_pb2.DetokenizeRequest(model=MODEL, token_ids=[97, 98])
    assert (await stub.Detokenize(request, metadata=AUTHORIZED)).text == "ab"


async def test_a_client_that_reads_nothing_is_dropped(cluster: Cluster, start: Started) -> None:
    """With HTTP/2 the client's window fills; then the worker has no more credit, then the stall time-out ends it."""
    cluster.worker.behaviour.tokens = 100_000
    gateway: GatewayApp = await start(GatewayApp(settings(cluster.router.address, stall_timeout_s=0.5)))
    await wait_until(lambda: gateway.ready() is None, description="the gateway is ready")
    options = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536)]
    async with grpc.aio.insecure_channel(gateway.address, options=options) as channel:
        call = inference_pb2_grpc.InferenceServiceStub(channel).Chat(chat(), metadata=AUTHORIZED)
        await wait_until(lambda: cluster.worker.cancels, description="its slot is freed", timeout=60)
        assert sum(cluster.worker.sent_tokens.values()) < 20_000
        await wait_until(lambda: gateway.metrics.open_requests._value.get() == 0, description="nothing is held")
        call.cancel()


async def test_cancelling_frees_the_slot(cluster: Cluster) -> None:
    cluster.worker.behaviour.hang_after = 2
    stub = inference_pb2_grpc.InferenceServiceStub(cluster.channel)
    call = stub.Chat(chat(), metadata=AUTHORIZED)
    await call.read()
    call.cancel()
    await wait_until(lambda: cluster.worker.cancels, description="the worker sees Cancel")
    await wait_until(lambda: cluster.router.finishes, description="the router sees Finish")
    assert cluster.router.finishes[0].outcome == router_pb2.OUTCOME_CANCELLED


async def test_the_callers_deadline_is_kept(cluster: Cluster) -> None:
    cluster.worker.behaviour.hang_after = 0
    stub = inference_pb2_grpc.InferenceServiceStub(cluster.channel)
    call = stub.Chat(chat(), metadata=AUTHORIZED, timeout=2.0)
    assert await call.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    # gRPC rounds a deadline up when it writes it into a header, by 1 % at most.
    assert 0 < cluster.router.submits[0].timeout_ms <= 2020
    await wait_until(lambda: cluster.router.finishes, description="the router sees Finish")


async def test_health(cluster: Cluster) -> None:
    health = health_pb2_grpc.HealthStub(cluster.channel)

    async def serving() -> bool:
        answer = await health.Check(health_pb2.HealthCheckRequest(service=NAME))
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    await wait_until(serving, description="gRPC health says SERVING")


@pytest.mark.parametrize("version", [V1ALPHA, V1])
async def test_reflection_in_both_versions(cluster: Cluster, version: str) -> None:
    """Newer clients ask v1 first. Its messages are those of v1alpha under another name."""
    ask: Any = cluster.channel.stream_stream(
        f"/{version}/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        *(reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in (NAME, V1, V1ALPHA)),
    ]
    listed, *answers = [answer async for answer in ask(iter(requests))]
    names = {service.name for service in listed.list_services_response.service}
    assert {NAME, OPEN_INFERENCE, "grpc.health.v1.Health", V1, V1ALPHA} == names
    pool = DescriptorPool()
    for answer in answers:
        for file in reversed(answer.file_descriptor_response.file_descriptor_proto):
            pool.AddSerializedFile(file)
    assert "Chat" in pool.FindServiceByName(NAME).methods_by_name
    info = pool.FindServiceByName(V1).methods_by_name["ServerReflectionInfo"]
    assert info.input_type.full_name == "grpc.reflection.v1.ServerReflectionRequest"


async def test_keys_by_other_names(cluster: Cluster) -> None:
    stub = inference_pb2_grpc.InferenceServiceStub(cluster.channel)
    ask = inference_pb2.ListModelsRequest()
    for name in ("x-api-key", "api-key"):
        assert [model.id for model in (await stub.ListModels(ask, metadata=((name, KEY),))).models] == [MODEL]
        with pytest.raises(grpc.aio.AioRpcError, match=f"{name} and authorization|authorization and {name}"):
            await stub.ListModels(ask, metadata=(*AUTHORIZED, (name, "another-key")))


def frame(kind: int, payload: bytes = b"") -> bytes:
    """A frame of HTTP/2 for the whole connection. kind: 4 SETTINGS, 6 PING, 7 GOAWAY."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, 0)) + bytes(4) + payload


async def pings(address: str, number: int, every_s: float) -> bool:
    """Sends pings on an idle connection and returns whether all of them were answered."""
    reader, writer = await asyncio.open_connection(*split(address))
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4))
    answered = 0
    try:
        async with asyncio.timeout(30):
            for ping in range(number):
                writer.write(frame(6, struct.pack(">Q", ping)))
                while answered <= ping:
                    head = await reader.readexactly(9)
                    payload = await reader.readexactly(int.from_bytes(head[:3]))
                    answered += head[3] == 6 and head[4] == 1
                    if head[3] == 7:
                        assert b"too_many_pings" in payload
                        return False
                await asyncio.sleep(every_s)  # the pause is what is tested
    finally:
        writer.close()
    return True


async def test_keepalive_pings_are_answered_within_bounds(cluster: Cluster, start: Started) -> None:
    gateway: GatewayApp = await start(GatewayApp(settings(cluster.router.address, grpc_min_ping_s=0.01)))
    assert await pings(gateway.address, 3 * MAX_EARLY_PINGS, every_s=0.02)
    assert await pings(cluster.gateway.address, MAX_EARLY_PINGS // 2, every_s=0), "some early ones are forgiven"
    assert not await pings(cluster.gateway.address, 3 * MAX_EARLY_PINGS, every_s=0)


@pytest.mark.parametrize("method", ["Chat", "Tokenize"])
async def test_bytes_that_are_no_message_are_the_clients_fault(cluster: Cluster, method: str) -> None:
    """gRPC's own answer would be UNKNOWN, as if the server had failed."""
    channel: Any = cluster.channel
    kind = channel.unary_stream if method == "Chat" else channel.unary_unary
    call = kind(f"/{NAME}/{method}")(b"\x93", metadata=AUTHORIZED)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await (call.read() if method == "Chat" else call)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    trailing = dict(refused.value.trailing_metadata() or ())
    assert inference_pb2.OpenAIError.FromString(trailing["tidegate-error-bin"]).code == "invalid_message"
