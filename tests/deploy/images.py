"""What docker/Dockerfile says of its images."""

import re
from pathlib import Path

DOCKERFILE = Path("docker/Dockerfile")


def stages() -> dict[str, str]:
    """Text of each stage, with that of the stages it builds upon before it."""
    parts = re.split(r"^FROM (\S+) AS (\S+)$", DOCKERFILE.read_text(), flags=re.MULTILINE)
    texts: dict[str, str] = {}
    for base, name, body in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        texts[name] = texts.get(base, "") + body
    return texts


def variables(image: str) -> dict[str, str]:
    """TIDEGATE_* that the image sets."""
    return dict(re.findall(r"\b(TIDEGATE_\w+)=(\S+)", stages()[image]))


def command(image: str) -> str:
    """The module that the image runs."""
    return str(re.findall(r'^CMD \["python3", "-m", "(.+)"\]$', stages()[image], flags=re.MULTILINE)[-1])
