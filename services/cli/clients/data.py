"""Training data, wherever it lies."""

import asyncio
from pathlib import Path

S3 = "s3://"


def local_data(data: str | Path, scratch: Path) -> Path:
    """Where data lies on this machine. Data of a bucket is brought to `scratch` first.

    Raises:
        WrongData: The bucket cannot be read, or there is no data.
    """
    if isinstance(data, Path):
        return data
    from trainer.remote_data import fetch

    return asyncio.run(fetch(data, scratch))
