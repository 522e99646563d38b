"""The devices that a run computes on."""

from collections.abc import Mapping

VISIBLE = "CUDA_VISIBLE_DEVICES"


def first_device(environ: Mapping[str, str], count: int) -> str | None:
    """The one GPU of several that a run takes.

    A process that sees several would spread each batch over all of them without being told to, and so would make
    larger batches than the recipe says.

    Args:
        environ: Environment of the process.
        count: GPUs that it sees.

    Returns:
        What VISIBLE must be set to before the first computation, or None if there is nothing to do.
    """
    if count < 2:
        return None
    return next((name.strip() for name in environ.get(VISIBLE, "").split(",") if name.strip()), "0")
