"""A repository of the Hugging Face hub, or of a server that speaks its API (HF_ENDPOINT).

The token comes from HF_TOKEN, or from the file that HF_TOKEN_PATH names or `hf auth login` wrote: the library finds it.
"""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trainer.quiet import quiet_hub
from trainer.sources.pipe import Pipe
from trainer.sources.source import Listing, RemoteFile, WrongSource

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

SCHEME = "hf://"
_REFERENCE = re.compile(r"hf://(?P<repository>[\w.-]+(/[\w.-]+)?)(@(?P<revision>[^@\s]+))?")
_ONE_REPOSITORY, _ONE_FILE = r"hf://(?P<repository>[\w.-]+/[\w.-]+)", r"(/(?P<file>[^@\s]+\.gguf)|:(?P<kind>[\w.-]+))"
_FILE_REFERENCES = (
    re.compile(rf"{_ONE_REPOSITORY}(@(?P<revision>refs/(pr|convert)/[^/@:\s]+|[^/@:\s]+))?{_ONE_FILE}"),
    re.compile(rf"{_ONE_REPOSITORY}{_ONE_FILE}@(?P<revision>[^@\s]+)"),
)
"""The revision stands behind the repository, as in the hub's own addresses, or at the end."""
_MAIN = "main"
_LISTING_S = 30.0


@dataclass(slots=True)
class HubRepository:
    """A repository at a revision. After `listing` it is pinned to the commit that was found.

    Attributes:
        repository: `organisation/name`.
        revision: Branch, tag or commit.
        endpoint: URL of the server; None: HF_ENDPOINT, or the hub itself.
    """

    repository: str
    revision: str = _MAIN
    endpoint: str | None = None
    _sizes: dict[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "HubRepository":
        """Reads `hf://organisation/name` or `hf://organisation/name@revision`. Raises WrongSource."""
        if not (match := _REFERENCE.fullmatch(text)):
            raise WrongSource(
                f"{text!r} names no repository: write hf://organisation/name or hf://organisation/name@tag; for one "
                "GGUF file hf://organisation/name/file.gguf or hf://organisation/name:Q4_K_M"
            )
        return cls(match["repository"], match["revision"] or _MAIN)

    @classmethod
    def parse_file(cls, text: str) -> "tuple[HubRepository, str] | None":
        """Reads `hf://organisation/name/file.gguf` or `hf://organisation/name:Q4_K_M`.

        Returns:
            The repository, and the file or quantization; None if neither is named.
        """
        for reference in _FILE_REFERENCES:
            if match := reference.fullmatch(text):
                return cls(match["repository"], match["revision"] or _MAIN), match["file"] or match["kind"]
        return None

    async def listing(self) -> Listing:
        """See Place."""
        quiet_hub()
        info = await asyncio.to_thread(self._info)
        siblings = info.siblings or []
        files = {file.rfilename: RemoteFile(file.size or 0, file.lfs.sha256 if file.lfs else None) for file in siblings}
        asked = (self.repository, self.revision)
        self.repository, self.revision = info.id, info.sha or self.revision
        self._sizes = {name: file.size for name, file in files.items()}
        moved = () if info.id == asked[0] else (f"the repository {asked[0]} is now called {info.id}",)
        address = f"{SCHEME}{info.id}" + ("" if asked[1] == _MAIN else f"@{asked[1]}")
        return Listing(files, f"{SCHEME}{info.id}@{self.revision}", address, moved)

    async def read(self, name: str) -> AsyncGenerator[bytes, None]:
        """See Place."""
        _refuse_too_large(name, self._sizes.get(name, 0))
        try:
            async with aclosing(Pipe().read(lambda pipe: self._download(name, pipe))) as chunks:
                async for chunk in chunks:
                    yield chunk
        except Exception as error:
            raise _told(error, self.repository, self.revision) from error

    def _info(self) -> "ModelInfo":
        from huggingface_hub import HfApi

        try:
            return HfApi(endpoint=self.endpoint).model_info(
                self.repository, revision=self.revision, files_metadata=True, timeout=_LISTING_S
            )
        except Exception as error:
            raise _told(error, self.repository, self.revision) from error

    def _download(self, name: str, pipe: Pipe) -> None:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers

        http_get(
            hf_hub_url(self.repository, name, revision=self.revision, endpoint=self.endpoint),
            pipe,
            headers=build_hf_headers() | {"Accept-Encoding": "identity"},
            expected_size=self._sizes.get(name),
            displayed_filename=name,
        )


def _refuse_too_large(name: str, size: int) -> None:
    from huggingface_hub.constants import MAX_HTTP_DOWNLOAD_SIZE

    if size > MAX_HTTP_DOWNLOAD_SIZE:
        raise WrongSource(
            f"{name} has {size} bytes, and the hub streams at most {MAX_HTTP_DOWNLOAD_SIZE} of one file: "
            "download the repository (hf download), and import the folder, or the .gguf file in it"
        )


def _told(error: Exception, repository: str, revision: str) -> Exception:
    """What to do about an error of the hub's library. Other errors stay what they are."""
    import httpx2
    from huggingface_hub import errors, get_token

    token = "" if get_token() else ". No token is set: set HF_TOKEN, or HF_TOKEN_PATH to a file that holds one"
    match error:
        case errors.GatedRepoError():  # a kind of RepositoryNotFoundError, so it comes first
            return WrongSource(
                f"{repository} is gated: ask for access on its page, with the account whose token is used here{token}"
            )
        case errors.RepositoryNotFoundError():
            return WrongSource(
                f"the hub has no repository {repository}, or it is private and no token may read it{token}"
            )
        case errors.RevisionNotFoundError():
            return WrongSource(f"{repository} has no revision {revision}: give a branch, a tag or a commit after '@'")
        case errors.EntryNotFoundError():
            return WrongSource(f"{repository} has lost a file since it was listed: start the import again")
        case errors.HFValidationError():
            return WrongSource(f"{repository!r} is no name of a repository")
        case errors.OfflineModeIsEnabled():
            return WrongSource(
                "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set, so the hub is not asked: unset both to import from it"
            )
        case errors.HfHubHTTPError():
            status = error.response.status_code
            reason = "the token is wrong: see HF_TOKEN" if status == 401 else "try again later"
            return WrongSource(f"the hub answered {status} for {repository}: {reason}")
        case httpx2.HTTPError():
            return WrongSource(
                f"the hub cannot be reached ({type(error).__name__}): see HF_ENDPOINT and HTTPS_PROXY, or try later"
            )
        case OSError():
            return WrongSource(f"{repository} was not read to its end ({error}): start the import again, it goes on")
    return error
