"""Server-rendered pages: what a browser sees at the addresses that the client prints.

A browser logs in with a key and gets a cookie that scripts cannot read and other sites cannot use.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

from jinja2 import Environment, FileSystemLoader, select_autoescape
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from agent.server.database import Connection
from agent.server.execution import Services
from agent.server.gate import Identity, read_body
from agent.server.projects import find_project, list_projects
from agent.server.records import iso_time
from agent.server.refusals import Refused
from agent.server.runs import find_run, list_runs, of_project, of_sweep
from agent.server.sweeps import find_sweep, list_sweeps

COOKIE = "sweep_agent_session"
SESSION_S = 12 * 3600
MAX_FORM_BYTES = 10_000
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'"


class Pages:
    """The pages over the store."""

    def __init__(self, services: Services, identity: Identity, pool: ThreadPoolExecutor) -> None:
        self.services = services
        self.identity = identity
        self.pool = pool
        self.templates = Environment(
            loader=FileSystemLoader(Path(__file__).with_name("templates")),
            autoescape=select_autoescape(default=True),
        )
        self.templates.filters["time"] = iso_time

    def routes(self) -> list[Route]:
        project = "/{entity}/{project}"
        return [
            Route("/login", self.login_form, methods=["GET"]),
            Route("/login", self.log_in, methods=["POST"]),
            Route("/logout", self.log_out, methods=["POST"]),
            Route("/", self.home, methods=["GET"]),
            Route("/{entity}", self.home, methods=["GET"]),
            Route(project, self.project, methods=["GET"]),
            Route(f"{project}/workspace", self.project, methods=["GET"]),
            Route(f"{project}/sweeps/{{sweep}}", self.sweep, methods=["GET"]),
            Route(f"{project}/runs/{{run}}", self.run, methods=["GET"]),
            Route(f"{project}/runs/{{run}}/{{rest:path}}", self.run, methods=["GET"]),
        ]

    async def login_form(self, request: Request) -> Response:
        return self.render("login.html", next=_safe_target(request.query_params.get("next")))

    async def log_in(self, request: Request) -> Response:
        try:
            body = await read_body(request, MAX_FORM_BYTES)
        except Refused as refusal:
            return self.render("login.html", status=400, next="/", problem=str(refusal))
        form = parse_qs(body.decode("utf-8", "replace"))
        key = form.get("key", [""])[0].strip()
        target = _safe_target(form.get("next", ["/"])[0])
        loop = asyncio.get_running_loop()
        try:
            record = await loop.run_in_executor(self.pool, self.identity.record_of, request, key)
        except Refused as refusal:
            return self.render(
                "login.html", status=refusal.status, next=target, problem=str(refusal)
            )
        expires_at = self.services.clock() + SESSION_S
        token = self.services.signer.sign({"session": record.id}, expires_at)
        response = RedirectResponse(target, status_code=303)
        response.set_cookie(
            COOKIE, token, max_age=SESSION_S, httponly=True, samesite="strict",
            secure=self.services.address.startswith("https"),
        )  # fmt: skip
        return response

    async def log_out(self, _: Request) -> Response:
        response = RedirectResponse("/login", status_code=303)
        response.delete_cookie(COOKIE)
        return response

    async def home(self, request: Request) -> Response:
        def content(connection: Connection, entity: str) -> dict[str, Any] | None:
            if request.path_params.get("entity", entity) != entity:
                return None
            return {"projects": list_projects(connection, entity, 0, 200).items}

        return await self.show(request, "projects.html", content)

    async def project(self, request: Request) -> Response:
        def content(connection: Connection, entity: str) -> dict[str, Any] | None:
            found = self._project(connection, entity, request)
            if found is None:
                return None
            runs = list_runs(connection, of_project(found.id), order="-created_at", limit=200)
            sweeps = list_sweeps(connection, found.id, 0, 200)
            return {"project": found, "runs": runs.items, "sweeps": sweeps.items}

        return await self.show(request, "project.html", content)

    async def sweep(self, request: Request) -> Response:
        def content(connection: Connection, entity: str) -> dict[str, Any] | None:
            found = self._project(connection, entity, request)
            sweep = (
                find_sweep(connection, found.id, request.path_params["sweep"]) if found else None
            )
            if found is None or sweep is None:
                return None
            runs = list_runs(connection, of_sweep(sweep.id), limit=1000)
            return {"project": found, "sweep": sweep, "runs": runs.items}

        return await self.show(request, "sweep.html", content)

    async def run(self, request: Request) -> Response:
        def content(connection: Connection, entity: str) -> dict[str, Any] | None:
            found = self._project(connection, entity, request)
            run = find_run(connection, found.id, request.path_params["run"]) if found else None
            return {"project": found, "run": run} if run else None

        return await self.show(request, "run.html", content)

    def _project(self, connection: Connection, entity: str, request: Request) -> Any:
        if request.path_params["entity"] != entity:
            return None
        return find_project(connection, entity, request.path_params["project"])

    async def show(self, request: Request, template: str, content: Any) -> Response:
        """A page for whoever is logged in; the others are asked for a key."""

        def work() -> tuple[str | None, dict[str, Any] | None]:
            entity = self.entity_of(request)
            if entity is None:
                return None, None
            with self.services.database.read() as connection:
                return entity, content(connection, entity)

        entity, found = await asyncio.get_running_loop().run_in_executor(self.pool, work)
        if entity is None:
            return RedirectResponse(f"/login?next={quote(request.url.path)}", status_code=303)
        if found is None:
            return self.render("missing.html", status=404, entity=entity)
        return self.render(template, entity=entity, **found)

    def entity_of(self, request: Request) -> str | None:
        """Whose session (or key) the request carries; None if it has neither."""
        grant = self.services.signer.open(request.cookies.get(COOKIE, ""), self.services.clock())
        if grant is not None and "session" in grant:
            with self.services.database.read() as connection:
                row = connection.execute(
                    "SELECT entity FROM api_key WHERE id = ? AND revoked_at IS NULL",
                    (grant["session"],),
                ).fetchone()
            return str(row[0]) if row else None
        if "authorization" not in request.headers:
            return None
        try:
            return self.identity.entity_of(request)
        except Refused:
            return None

    def render(self, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        text = self.templates.get_template(template).render(**values)
        headers = {
            "Content-Security-Policy": _POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }
        return HTMLResponse(text, status_code=status, headers=headers)


def _safe_target(path: str | None) -> str:
    """Where to go after the login: a path of this server only."""
    is_local = path and path.startswith("/") and not path.startswith(("//", "/\\"))
    return path if is_local and path and "\n" not in path and "\r" not in path else "/"


def page_routes(services: Services, identity: Identity, pool: ThreadPoolExecutor) -> list[Route]:
    """The routes of all pages."""
    return Pages(services, identity, pool).routes()
