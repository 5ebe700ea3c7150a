"""Templates, the few files that pages use, and the rules under which a browser shows them."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from agent.server.pages.metrics import heading_of
from agent.server.pages.view import duration, size_text, text_of
from agent.server.store.records import iso_time

_HERE = Path(__file__).parent
_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
# Everything comes from this server; no script or style stands in a page itself; a script may not
# make markup from text at all.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With `no-referrer` a browser would send its own forms with `Origin: null`.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Drawing:
    """Makes responses of templates and assets."""

    def __init__(self, notice: Callable[[], str] = lambda: "") -> None:
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=StrictUndefined,
        )
        self._templates.filters |= {
            "time": iso_time,
            "duration": duration,
            "size": size_text,
            "heading": heading_of,
            "segment": lambda text: quote(str(text), safe=""),
            "pretty": _pretty,
        }
        self._templates.globals["text_of"] = text_of
        self._templates.globals["server_notice"] = notice
        self._assets = {
            path.name: (path.read_bytes(), _TYPES[path.suffix])
            for path in sorted((_HERE / "static").rglob("*"))
            if path.suffix in _TYPES
        }
        self._tags = {
            name: f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            for name, (content, _) in self._assets.items()
        }

    def page(self, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        names: dict[str, Any] = {"entity": None, "project": None, "problem": None}
        text = self._templates.get_template(template).render(**(names | values))
        # Half characters (surrogates without a partner) cannot be sent.
        content = text.encode("utf-8", "replace")
        return HTMLResponse(content, status_code=status, headers=HEADERS)

    async def asset(self, request: Request) -> Response:
        """The stylesheet or a script; a browser asks again, and learns that nothing changed."""
        name = request.path_params["name"]
        if name not in self._assets:
            return PlainTextResponse("no such file", status_code=404)
        content, media_type = self._assets[name]
        headers = {
            "ETag": self._tags[name],
            "Cache-Control": "no-cache",
            "X-Content-Type-Options": "nosniff",
        }
        if request.headers.get("if-none-match") == self._tags[name]:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=media_type, headers=headers)


def _pretty(text: str) -> str:
    """JSON as text for people; anything else as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text
