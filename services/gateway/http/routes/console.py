"""The console's files, served without a key. They hold nothing but what every copy of Tidegate holds."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from services.gateway.http.routes.rest_router import RestRouter
from services.shared.errors import UnknownRoute

STATIC = Path(__file__).parents[2] / "console/static"
PREFIX = "/console/"
PAGES = {"/": "index.html", "/docs": "docs.html"}
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Allows nothing from other hosts, nothing inline, no frames, and no text that becomes markup (Trusted Types).
POLICY = "; ".join(
    (
        "default-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # Browsers keep the files and ask each time whether they changed, so a new version shows at once.
    "cache-control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class File:
    """One file of the console."""

    body: bytes
    media_type: str
    etag: str

    @classmethod
    def read(cls, path: Path) -> "File":
        """Reads a file from disk."""
        body = path.read_bytes()
        return cls(body, TYPES[path.suffix], f'"{sha256(body).hexdigest()[:32]}"')

    def response(self, known: str) -> Response:
        """Returns the file, or 304 if the client has it. known: the value of If-None-Match."""
        headers = {**HEADERS, "etag": self.etag}
        if self.etag in known:
            return Response(status_code=304, headers=headers)
        return Response(self.body, headers=headers, media_type=self.media_type)


class ConsoleRoutes:
    """All files of the console, read once. A request is looked up among their names, so no path leads elsewhere."""

    def __init__(self, folder: Path = STATIC) -> None:
        """Reads the files.

        Raises:
            OSError: a file cannot be read.
            KeyError: TYPES does not know the type of a file.
        """
        files = {path.name: File.read(path) for path in sorted(folder.iterdir()) if path.is_file()}
        pages = {path: files.pop(name) for path, name in PAGES.items()}
        self._files = {**pages, **{PREFIX + name: file for name, file in files.items()}}

    @property
    def paths(self) -> frozenset[str]:
        """Paths that need no key."""
        return frozenset(self._files)

    def router(self) -> RestRouter:
        """Returns the routes of this resource."""
        router = RestRouter(include_in_schema=False)
        for path in (*PAGES, PREFIX + "{name:path}"):
            router.add_api_route(path, self.show, methods=["GET", "HEAD"])
        return router

    async def show(self, request: Request) -> Response:
        """Sends a file."""
        file = self._files.get(request.scope["path"])
        if file is None:
            raise UnknownRoute("The console has no such file.")
        return file.response(request.headers.get("if-none-match", ""))
