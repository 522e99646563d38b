"""Which variables of the command that starts a cluster its processes get."""

from collections.abc import Mapping

from services.shared.settings import PREFIX

LIMITS = ("STAGE_LIMIT_S", "STAGE_STALL_S", "STAGE_RANGES", "STAGE_MIB_S", "CACHE_GIB", "ROLLOUT_WORKER_LIMIT_S")
"""Settings that may be given to `tidegate up`, without their prefix. They name no address and no key."""


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without TIDEGATE_ variables, which may be meant for another cluster, but with LIMITS."""
    passed = {f"{PREFIX}{name}" for name in LIMITS}
    return {name: value for name, value in environ.items() if name in passed or not name.startswith(PREFIX)}
