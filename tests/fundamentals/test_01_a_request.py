"""Lesson 1: a request gets an answer.

The client speaks OpenAI's API. The gateway checks the key and the body (services/gateway/http and openai), asks a
router for a slot (services/router), sends the request to the worker that the router named
(services/gateway/generation), and answers with the worker's tokens. gRPC clients take the same way behind their own
interface (services/gateway/grpc), so both get the same words.
"""

import grpc
import pytest
from openai import AsyncOpenAI

from tests.support.cluster import RunningCluster
from tidegate.inference.v1 import inference_pb2 as pb
from tidegate.inference.v1.inference_pb2_grpc import InferenceServiceStub

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

QUESTION = "Where does the tide go?"


async def test_rest_and_grpc_clients_get_the_same_answer(simulated: RunningCluster, openai: AsyncOpenAI) -> None:
    answer = await openai.chat.completions.create(
        model="tide", messages=[{"role": "user", "content": QUESTION}], max_tokens=20, temperature=0
    )
    words = answer.choices[0].message.content
    assert words
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 20

    request = pb.ChatRequest(
        model="tide",
        messages=[pb.Message(role="user", content=QUESTION)],
        sampling=pb.Sampling(max_tokens=20, temperature=0),
    )
    key = (("authorization", f"Bearer {simulated.key}"),)
    async with grpc.aio.insecure_channel(simulated.grpc) as channel:
        messages = [message async for message in InferenceServiceStub(channel).Chat(request, metadata=key)]
    assert "".join(choice.content for message in messages for choice in message.choices) == words
