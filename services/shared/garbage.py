"""The garbage collector of a process that serves: it looks for garbage rarely, and not among what the start made."""

import gc

# Objects made, and not yet freed, before the collector looks for garbage among them: a request makes hundreds.
_COLLECT_AFTER = 10_000


def spare() -> None:
    """What is there now stays: to look through all of it again would stop every stream meanwhile."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)
