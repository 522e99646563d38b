"""Libraries that would disturb others: the caller's progress bar, the processes beside them, or their safety."""

import os


def quiet() -> None:
    """Call before they are imported: tqdm only reads its switch then."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def quiet_hub() -> None:
    """Call before its library is imported: it would draw a bar for each file, and tell the hub what program uses it."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()


def share_cores() -> None:
    """Lets PyTorch's threads sleep while they wait for each other. Call before torch is imported.

    By default they spin, which wastes most of the time beside a serving cluster on the same cores: finding golden
    prompts took five times the CPU.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def no_code_of_metrics() -> None:
    """Keeps the library `evaluate` from fetching code of metrics from a hub and running it.

    Call before lm-evaluation-harness is imported, which asks for that where it does not know a metric itself.
    """
    os.environ["HF_EVALUATE_OFFLINE"] = "1"
