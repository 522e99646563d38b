"""A model in an S3 bucket: all objects below a prefix.

Credentials and endpoint come from the AWS_* variables (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...), never from the
settings of the registry's own store: it may be somebody else's bucket.
"""

import os
import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field, replace

from services.shared.objectstore import ObjectStore, StoreError, connect_by_environment
from trainer.sources.source import Listing, RemoteFile, WrongSource

SCHEME = "s3://"
_REFERENCE = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(/(?P<prefix>[^\s]*))?")
MAX_FILES = 10_000


@dataclass(frozen=True, slots=True)
class S3Prefix:
    """The objects of `bucket` below `prefix`, which ends with no '/'."""

    bucket: str
    prefix: str
    store: ObjectStore = field(compare=False)

    @classmethod
    def parse(cls, text: str, environ: Mapping[str, str] = os.environ) -> "S3Prefix":
        """Reads `s3://bucket/prefix`. Raises WrongSource."""
        if not (match := _REFERENCE.fullmatch(text)):
            raise WrongSource(f"{text!r} names no place in a bucket: write s3://bucket/prefix")
        bucket, prefix = match["bucket"], (match["prefix"] or "").strip("/")
        try:
            return cls(bucket, prefix, connect_by_environment(bucket, environ))
        except StoreError as error:
            raise WrongSource(f"{text}: {error}; see the AWS_* variables") from None

    @property
    def parent(self) -> "S3Prefix":
        """What its path lies in."""
        return replace(self, prefix=self.prefix.rpartition("/")[0])

    @property
    def last_name(self) -> str:
        """The last part of its path."""
        return self.prefix.rpartition("/")[2] or self.bucket

    async def listing(self) -> Listing:
        """See Place."""
        start = f"{self.prefix}/" if self.prefix else ""
        files: dict[str, RemoteFile] = {}
        try:
            async for entry in self.store.entries(start):
                files[entry.name.removeprefix(start)] = RemoteFile(entry.size)
                if len(files) > MAX_FILES:
                    raise WrongSource(f"{self._place} holds more than {MAX_FILES} objects: name the model's own folder")
        except StoreError as error:
            raise WrongSource(f"{self._place} cannot be listed: {error}. See the AWS_* variables") from error
        if not files:
            raise WrongSource(f"{self._place} holds nothing: see bucket and prefix")
        return Listing(files, self._place, self._place)

    async def read(self, name: str) -> AsyncGenerator[bytes, None]:
        """See Place."""
        try:
            async for chunk in self.store.stream(f"{self.prefix}/{name}" if self.prefix else name):
                yield chunk
        except StoreError as error:
            raise WrongSource(f"{name} cannot be read: {error}. Start the import again, it goes on") from error

    @property
    def _place(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}".removesuffix("/")
