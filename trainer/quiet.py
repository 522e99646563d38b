"""Libraries that draw progress bars of their own over the caller's."""

import os


def quiet() -> None:
    """Call before they are imported: tqdm only reads its switch then."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
