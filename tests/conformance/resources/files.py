"""`/v1/files`."""

from typing import Any

from tests.conformance.api import Api, NotServed, error_object, expect, same

CONTENT = b'{"a": 1}\n'


async def round_trip(api: Api) -> None:
    """A file is kept with name and purpose, listed, read, and deleted."""
    file = await _upload(api)
    same((file["object"], file["filename"], file["purpose"]), ("file", "a.jsonl", "batch"), "the file")
    same(file["bytes"], len(CONTENT), "bytes")
    shown = await api.get(f"/v1/files/{file['id']}")
    same(shown["id"], file["id"], "the id")
    listed = await api.get("/v1/files?limit=100")
    expect(file["id"] in [each["id"] for each in listed["data"]], "the list does not have it")
    same((await api.send("GET", f"/v1/files/{file['id']}/content")).content, CONTENT, "the content")
    deleted = (await api.send("DELETE", f"/v1/files/{file['id']}")).json()
    same((deleted["id"], deleted["deleted"]), (file["id"], True), "the deletion")


async def unknown_files(api: Api) -> None:
    """An unknown file is a 404 with an error object."""
    await _upload(api)
    answer = await api.send("GET", "/v1/files/file-unknown")
    same(answer.status_code, 404, "the status")
    error_object(answer)


async def expiry(api: Api) -> None:
    """`expires_after` sets when a file is deleted."""
    form = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    file = await _upload(api, **form)
    same(file["expires_at"], file["created_at"] + 3600, "expires_at")


async def _upload(api: Api, **form: str) -> Any:
    answer = await api.send(
        "POST", "/v1/files", files={"file": ("a.jsonl", CONTENT)}, data={"purpose": "batch", **form}
    )
    if answer.status_code == 404:
        raise NotServed("404")
    same(answer.status_code, 200, "the status")
    return answer.json()
