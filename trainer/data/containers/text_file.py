"""Plain text: a file is one text."""

import io
from collections.abc import Iterator

from trainer.data.containers.record import Fault, Record
from trainer.data.content import BYTE_ORDER_MARK, MAX_LINE_BYTES, decoded, whole
from trainer.data.wrong import WrongRecord


def records(reader: io.BufferedReader, name: str) -> Iterator[Record | Fault]:
    """Raises WrongData: The file has more than MAX_LINE_BYTES."""
    content = whole(reader, name, MAX_LINE_BYTES, 'split it, or write JSONL with {"text": ...} a line')
    try:
        text = decoded(content).removeprefix(BYTE_ORDER_MARK)
    except WrongRecord as error:
        yield Fault(name, str(error))
        return
    yield Record(f"{name}:1", {"text": text})
