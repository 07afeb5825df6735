"""The page: three files of this package, and the headers that every answer has."""

from importlib import resources
from typing import Any

from jaxvision.serve.answers import Answer

FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
# Nothing from elsewhere, nothing inline: what a file name or a class name says is never run.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}


def _load(name: str) -> bytes:
    return resources.files(__package__).joinpath("page", name).read_bytes()


_CONTENT = {path: Answer(_load(name), kind) for path, (name, kind) in FILES.items()}


def is_page(path: str) -> bool:
    """Whether an address is one of the page's files, of any model."""
    parts = path.split("/")  # '/models/fer/page.js' -> '', 'models', 'fer', 'page.js'
    return path in FILES or (len(parts) == 4 and parts[1] == "models" and f"/{parts[3]}" in FILES)


async def send(service: Any, request: Any) -> Answer:
    """The file that the address ends with."""
    return _CONTENT["/" + request.path.rsplit("/", 1)[1]]
