"""A client that knows nothing but the address: it asks the server what there is, as grpcurl does."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.support.cluster import RunningCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

SERVICE = "tidegate.inference.v1.InferenceService"


@pytest.fixture
def channel(simulated: RunningCluster) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(simulated.grpc) as channel:
        yield channel


def call(channel: grpc.Channel, method: MethodDescriptor, key: str, **fields: Any) -> Any:
    ask = channel.unary_stream if method.server_streaming else channel.unary_unary
    answers = message_factory.GetMessageClass(method.output_type)
    called: Any = ask(f"/{method.containing_service.full_name}/{method.name}", response_deserializer=answers.FromString)
    request = message_factory.GetMessageClass(method.input_type)(**fields)
    return called(request.SerializeToString(), metadata=(("authorization", f"Bearer {key}"),), timeout=30)


def test_services_and_their_messages_are_found_by_asking(simulated: RunningCluster, channel: grpc.Channel) -> None:
    found = ProtoReflectionDescriptorDatabase(channel)
    assert {SERVICE, "grpc.health.v1.Health"} <= set(found.get_services())
    methods = DescriptorPool(found).FindServiceByName(SERVICE).methods_by_name
    [model] = call(channel, methods["ListModels"], simulated.key).models
    asked = {
        "model": model.id,
        "messages": [{"role": "user", "content": "Where does the tide go?"}],
        "sampling": {"max_tokens": 20, "ignore_eos": True},
    }
    answers = list(call(channel, methods["Chat"], simulated.key, **asked))
    assert sum(answer.HasField("usage") for answer in answers) == 1
    assert answers[-1].usage.completion_tokens == 20
    assert "".join(choice.content for answer in answers for choice in answer.choices)
