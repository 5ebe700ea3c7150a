"""Who looks at a page: login with a key, the cookie it gives, and the token every form carries.

The cookie cannot be read by scripts and is not sent by other sites. It names a key, so revoking
the key ends its sessions. Forms that change something carry a token made from the session besides.
"""

import secrets
from urllib.parse import parse_qs, quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from agent.server.admission import Identity, read_body
from agent.server.refusals import Refused
from agent.server.services import Services

COOKIE = "sweep_agent_session"  # then what distinguishes servers on one host
SESSION_S = 12 * 3600
MAX_FORM_BYTES = 10_000


class Sessions:
    """The sessions of browsers, all of whose state lies in signed cookies."""

    def __init__(self, services: Services, identity: Identity) -> None:
        self._services = services
        self._identity = identity

    def log_in(self, request: Request, key: str, target: str) -> Response:
        """A redirect that carries the cookie. Raises Refused for a wrong key."""
        record = self._identity.record_of(request, key)
        # The time, too: after a restore another key may have this number.
        grant = {
            "session": record.id,
            "made": record.created_at,
            "nonce": secrets.token_hex(8),
        }
        token = self._services.signer.sign(grant, self._services.clock() + SESSION_S)
        response = RedirectResponse(target, status_code=303)
        response.set_cookie(
            self.cookie_name,
            token,
            max_age=SESSION_S,
            httponly=True,
            samesite="strict",
            secure=self._services.address.startswith("https"),
        )
        return response

    def entity_of(self, request: Request) -> str | None:
        """Whose session (or key) the request carries; None if it has neither."""
        grant = self._grant(request)
        if grant is not None:
            with self._services.database.read() as connection:
                row = connection.execute(
                    "SELECT entity FROM api_key WHERE id = ? AND created_at = ? "
                    "AND revoked_at IS NULL",
                    (grant["session"], grant.get("made")),
                ).fetchone()
            return str(row[0]) if row else None
        if "authorization" not in request.headers:
            return None
        try:
            return self._identity.entity_of(request)
        except Refused:
            return None

    def form_token(self, request: Request) -> str:
        """What this session's forms carry; empty without a session."""
        grant = self._grant(request)
        if grant is None:
            return ""
        mine = {"form": grant["session"], "nonce": grant.get("nonce")}
        return self._services.signer.sign(mine, self._services.clock() + SESSION_S)

    def check_form(self, request: Request, form: dict[str, str]) -> None:
        """Raises Refused unless the form was made for this session."""
        session = self._grant(request)
        made = self._services.signer.open(form.get("token", ""), self._services.clock())
        same = (
            session is not None
            and made is not None
            and "form" in made
            and (made["form"], made["nonce"]) == (session["session"], session.get("nonce"))
        )
        if not same:
            raise Refused("this form is not of your session (any more): reload the page", 403)

    @property
    def cookie_name(self) -> str:
        """Browsers send a cookie to every port of a host: each server looks for its own only."""
        return f"{COOKIE}_{self._services.signer.mark}"

    def _grant(self, request: Request) -> dict[str, object] | None:
        cookie = request.cookies.get(self.cookie_name, "")
        grant = self._services.signer.open(cookie, self._services.clock())
        return grant if grant is not None and "session" in grant else None


async def read_form(request: Request, limit: int = MAX_FORM_BYTES) -> dict[str, str]:
    """The fields of a small form; the first value of each. Raises Refused."""
    body = await read_body(request, limit)
    try:
        text = body.decode("utf-8", "replace")
        fields = parse_qs(text, keep_blank_values=True, max_num_fields=50)
    except ValueError:
        raise Refused("the form has too many fields", status=400) from None
    return {name: values[0] for name, values in fields.items()}


def login_address(request: Request) -> str:
    """The login form that leads back to where the request wanted to go."""
    path = request.url.path
    target = f"{path}?{request.url.query}" if request.url.query else path
    return f"/login?next={quote(target)}"


def safe_target(path: str | None) -> str:
    """Where to go after the login: a path of this server only."""
    is_local = path is not None and path.startswith("/") and not path.startswith(("//", "/\\"))
    is_plain = path is not None and all(character >= " " for character in path)
    return path if path is not None and is_local and is_plain else "/"
