"""The evaluation in a manifest, as the router is told of it when a rollout starts."""

from services.shared.manifests import Manifest, Measured
from tidegate.router.v1 import router_pb2 as pb


def evaluation_message(manifest: Manifest) -> dict[str, pb.Evaluated]:
    """Each value of the version, with that of the version it was trained from where the manifest has it."""
    return {name: _evaluated(value) for name, value in manifest.evaluation.items()}


def _evaluated(measured: float | Measured) -> pb.Evaluated:
    if isinstance(measured, Measured):
        return pb.Evaluated(value=measured.value, parent=measured.parent)
    return pb.Evaluated(value=measured)
