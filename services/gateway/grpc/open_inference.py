"""GRPCInferenceService of the Open Inference Protocol: liveness, readiness and metadata."""

from typing import Any

from services.gateway.grpc.call import Calls
from services.gateway.open_inference import OpenInference, no_tensors
from services.gateway.openai.request_builder import identified
from tidegate.openinference.v2 import open_inference_pb2 as pb
from tidegate.openinference.v2 import open_inference_pb2_grpc

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name


class OpenInferenceService(open_inference_pb2_grpc.GRPCInferenceServiceServicer):
    """Serves the Open Inference Protocol over gRPC."""

    def __init__(self, calls: Calls, open_inference: OpenInference) -> None:
        self._calls, self._open_inference = calls, open_inference

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Any) -> pb.ServerLiveResponse:  # noqa: N802
        """Says that the server is alive."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Any) -> pb.ServerReadyResponse:  # noqa: N802
        """Says whether the server takes requests."""
        return pb.ServerReadyResponse(ready=self._open_inference.ready)

    async def ServerMetadata(  # noqa: N802
        self, request: pb.ServerMetadataRequest, context: Any
    ) -> pb.ServerMetadataResponse:
        """Returns the server's metadata."""
        return pb.ServerMetadataResponse(**self._open_inference.server())

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Any) -> pb.ModelReadyResponse:  # noqa: N802
        """Says whether some worker takes requests for a model."""
        response = pb.ModelReadyResponse()
        async with self._calls.open(context) as call:
            response.ready = self._open_inference.model_ready(request.name, request.version, identified(call))
        return response

    async def ModelMetadata(  # noqa: N802
        self, request: pb.ModelMetadataRequest, context: Any
    ) -> pb.ModelMetadataResponse:
        """Returns a model's metadata."""
        fields: dict[str, Any] = {}
        async with self._calls.open(context) as call:
            fields = self._open_inference.model(request.name, request.version, identified(call))
        return pb.ModelMetadataResponse(**fields)

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Any) -> pb.ModelInferResponse:  # noqa: N802
        """Refuses: text is not generated over this protocol."""
        async with self._calls.open(context):
            raise no_tensors()
        return pb.ModelInferResponse()
