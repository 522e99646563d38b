"""Settings of Python's garbage collector for a serving process: it runs rarely and skips the objects of the start."""

import gc

# New objects after which the collector runs. A request makes hundreds.
_COLLECT_AFTER = 10_000


def spare() -> None:
    """Excludes all present objects from garbage collection. Scanning them again would pause every stream."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)
