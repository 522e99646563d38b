"""Uploads as multipart forms, bounded in size and time, on their way to a temporary file."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from services.gateway.http.connection.content_encoding import IDENTITY, encoding_of
from services.shared.errors import ClientLeft, InvalidRequest, RequestTimeout, TidegateError, TooLarge, UnsupportedMedia

# Boundaries, headers and small fields beside the file.
FORM_BYTES = 64 * 1024
COPY_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Form:
    """A form with one file.

    Attributes:
        file: the content.
        filename: its name, for people.
        fields: all other fields.
    """

    file: UploadFile
    filename: str
    fields: dict[str, str]


class _Stopped(MultiPartException):
    """An error that ends an upload. Only after errors of this kind does the parser close its files."""

    def __init__(self, error: TidegateError) -> None:
        super().__init__(error.message)
        self.error = error


@asynccontextmanager
async def uploaded(request: Request, *, max_bytes: int, timeout_s: float) -> AsyncIterator[Form]:
    """Reads a form, and closes its file after the block.

    Args:
        request: the HTTP request, its body still unread.
        max_bytes: size of the largest file.
        timeout_s: seconds within which the form must arrive.

    Raises:
        UnsupportedMedia: the content type is not a multipart form, or the form is compressed.
        TooLarge: the file is too large.
        RequestTimeout: the form did not arrive in time.
        InvalidRequest: the form has no file, or it cannot be read.
        ClientLeft: the client closed the connection before the form was complete.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise UnsupportedMedia("The content type must be 'multipart/form-data'.")
    if (encoding := encoding_of(request.headers.get("content-encoding"))) != IDENTITY:
        raise UnsupportedMedia(f"The content encoding '{encoding}' is for JSON bodies. Send a form as it is.")
    form = await _parse(request, max_bytes, timeout_s)
    try:
        yield _checked(form)
    finally:
        await form.close()


async def copy_to(file: UploadFile, target: Path) -> int:
    """Writes a file, and returns its size in bytes.

    Raises:
        InvalidRequest: the file is empty.
    """
    size = 0
    with target.open("wb") as out:
        while chunk := await file.read(COPY_BYTES):
            size += await asyncio.to_thread(out.write, chunk)
    if not size:
        raise InvalidRequest("The file is empty.", param="file")
    return size


async def _parse(request: Request, max_bytes: int, timeout_s: float) -> FormData:
    content = _bounded(request, max_bytes, timeout_s)
    try:
        parser = MultiPartParser(request.headers, content, max_files=1, max_fields=16, max_part_size=FORM_BYTES)
        return await parser.parse()
    except _Stopped as stopped:
        raise stopped.error from None
    except (MultiPartException, KeyError, ValueError) as error:
        raise InvalidRequest(f"The form cannot be read: {str(error)[:200]}.") from None


async def _bounded(request: Request, max_bytes: int, timeout_s: float) -> AsyncGenerator[bytes, None]:
    seen, chunks = 0, aiter(request.stream())
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                chunk = await anext(chunks, None)
        except TimeoutError:
            raise _Stopped(RequestTimeout(f"The upload did not arrive within {timeout_s:g} s.")) from None
        except ClientDisconnect:
            raise _Stopped(ClientLeft("The client left before its upload was whole.")) from None
        if chunk is None:
            return
        seen += len(chunk)
        if seen > max_bytes + FORM_BYTES:
            raise _Stopped(TooLarge(f"The upload is larger than {max_bytes} bytes."))
        yield chunk


def _checked(form: FormData) -> Form:
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise InvalidRequest("Missing required parameter: 'file'.", param="file", code="missing_required_parameter")
    fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
    return Form(file, _name_of(file), fields)


def _name_of(file: UploadFile) -> str:
    name = (file.filename or "file").replace("\\", "/").rpartition("/")[2]
    if not name or len(name) > 255 or not name.isprintable():
        raise InvalidRequest("The file's name must be printable, of at most 255 characters.", param="file")
    return name
