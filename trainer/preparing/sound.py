"""The first filter, which is always on: documents that are no text at all."""

import re

from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.writers.disk_base import DiskWriter

from trainer.preparing.documents import FAULT

MAX_CONTROL_SHARE = 0.01
"""Share of characters that are control characters or marks of a wrong encoding."""
_STRANGE = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd]")


class Sound(BaseFilter):  # type: ignore[misc]
    """Drops what cannot be read, is empty, or is binary."""

    name = "sound"

    def __init__(self, exclusion_writer: DiskWriter) -> None:
        super().__init__(exclusion_writer)

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """See BaseFilter."""
        if fault := doc.metadata.get(FAULT):
            doc.text = fault  # what the report shows
            return False, "unreadable"
        if not doc.text.strip():
            return False, "empty"
        return not is_binary(doc.text) or (False, "binary")


def is_binary(text: str) -> bool:
    """Whether a text holds what no text holds."""
    return "\x00" in text or len(_STRANGE.findall(text)) > MAX_CONTROL_SHARE * len(text)
