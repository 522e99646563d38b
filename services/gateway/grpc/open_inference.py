"""GRPCInferenceService of the Open Inference Protocol: liveness, readiness and metadata."""

from typing import Any

from services.gateway.grpc.call import Calls
from services.gateway.open_inference import OpenInference, no_tensors
from services.gateway.openai.request_builder import identified
from tidegate.openinference.v2 import open_inference_pb2 as pb
from tidegate.openinference.v2 import open_inference_pb2_grpc

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name


class OpenInferenceService(open_inference_pb2_grpc.GRPCInferenceServiceServicer):
    def __init__(self, calls: Calls, told: OpenInference) -> None:
        self._calls, self._told = calls, told

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Any) -> pb.ServerLiveResponse:  # noqa: N802
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Any) -> pb.ServerReadyResponse:  # noqa: N802
        return pb.ServerReadyResponse(ready=self._told.ready)

    async def ServerMetadata(  # noqa: N802
        self, request: pb.ServerMetadataRequest, context: Any
    ) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(**self._told.server())

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Any) -> pb.ModelReadyResponse:  # noqa: N802
        answer = pb.ModelReadyResponse()
        async with self._calls.open(context) as call:
            answer.ready = self._told.model_ready(request.name, request.version, identified(call))
        return answer

    async def ModelMetadata(  # noqa: N802
        self, request: pb.ModelMetadataRequest, context: Any
    ) -> pb.ModelMetadataResponse:
        told: dict[str, Any] = {}
        async with self._calls.open(context) as call:
            told = self._told.model(request.name, request.version, identified(call))
        return pb.ModelMetadataResponse(**told)

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Any) -> pb.ModelInferResponse:  # noqa: N802
        async with self._calls.open(context):
            raise no_tensors()
        return pb.ModelInferResponse()
