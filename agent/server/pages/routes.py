"""Server-rendered pages: what a browser sees at the addresses that the client prints.

Each page is whole without a script; the script adds charts, live values and faster tables. Nothing
comes from outside, and every text of a user is escaped.
"""

import asyncio
import gzip
import logging
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from agent.server.admission import Identity
from agent.server.lanes import Lane
from agent.server.pages.changes import Changes
from agent.server.pages.compare import compared
from agent.server.pages.comparisons import MOST_AT_ONCE, Comparisons
from agent.server.pages.drawing import Drawing
from agent.server.pages.filter import filtered, filtered_points
from agent.server.pages.importance import importance_payload
from agent.server.pages.metrics import better_of, heading_of, is_judged
from agent.server.pages.place import Missing, number_in, see_project, see_run, see_sweep
from agent.server.pages.run import artifacts_of, console_of, files_of, predictions_of
from agent.server.pages.series import CurveCache, HistoryCache, curves_payload
from agent.server.pages.session import Sessions, login_address, read_form, safe_target
from agent.server.pages.sweep import ACTIONS, drawn, sweep_payload, title_of
from agent.server.pages.table import MAX_RUNS, RowCache, payload, row_of, shown_state, shown_values
from agent.server.pages.view import Choice, draw
from agent.server.refusals import Refused
from agent.server.services import Services
from agent.server.store.budget import Budget
from agent.server.store.database import Connection
from agent.server.store.projects import list_projects
from agent.server.store.runs import count_runs, list_bin, of_project, of_sweep
from agent.server.store.sampling import to_json
from agent.server.store.streams import EVENTS, HISTORY
from agent.server.store.sweeps import get_sweep, list_sweeps

PACK_BYTES = 20_000
Content = dict[str, Any]
T = TypeVar("T")
log = logging.getLogger("sweep_agent.server")


class Pages:
    """The pages over the store."""

    def __init__(
        self, services: Services, identity: Identity, pool: ThreadPoolExecutor, lane: Lane
    ) -> None:
        self.services = services
        self.sessions = Sessions(services, identity)
        self.pool = pool
        self.lane = lane
        self.drawing = Drawing(services.notice)
        self.changes = Changes(services, self.sessions, self.drawing, pool)
        self.rows = RowCache()
        self.curves = CurveCache()
        self.histories = HistoryCache()
        self.comparisons = Comparisons(services, self.curves)

    def routes(self) -> list[Route]:
        project = "/{entity}/{project}"
        sweep, run = f"{project}/sweeps/{{sweep}}", f"{project}/runs/{{run}}"
        page, data = self.page, self.data
        return [
            Route("/static/{name}", self.drawing.asset),
            Route("/login", self.login_form),
            Route("/login", self.log_in, methods=["POST"]),
            Route("/authorize", self.key_help),
            Route("/logout", self.log_out, methods=["POST"]),
            Route("/", page("projects.html", self.home)),
            Route("/{entity}", page("projects.html", self.home)),
            Route(project, page("project.html", self.project)),
            Route(f"{project}/workspace", page("project.html", self.project)),
            Route(f"{project}/sweeps", page("project.html", self.project)),
            Route(f"{project}/data", data(self.project_data)),
            Route(f"{project}/filter", data(self.filter_data)),
            Route(f"{project}/curves", data(self.curve_data)),
            *self.changes.routes(project, sweep, run),
            Route(sweep, page("sweep.html", self.sweep)),
            Route(f"{sweep}/data", data(self.sweep_data)),
            Route(f"{sweep}/filter", data(self.sweep_filter)),
            Route(f"{project}/compare", page("compare.html", self.compare)),
            Route(f"{sweep}/importance", data(self.importance)),
            Route(f"{run}/data", data(self.run_data)),
            Route(run, page("run.html", self.run)),
            Route(f"{run}/{{rest:path}}", page("run.html", self.run)),
        ]

    # ------------------------------------------------------------------ coming and going
    async def login_form(self, request: Request) -> Response:
        target = safe_target(request.query_params.get("next"))
        return self.drawing.page("login.html", next=target)

    async def key_help(self, _: Request) -> Response:
        """Where `wandb login` sends people for their key."""
        return self.drawing.page("keys.html")

    async def log_in(self, request: Request) -> Response:
        target = "/"
        try:
            form = await read_form(request)
            target = safe_target(form.get("next"))
            key = form.get("key", "").strip()
            return await self._in_thread(self.sessions.log_in, request, key, target)
        except Refused as refusal:
            status = refusal.status if refusal.status != 200 else 400
            return self.drawing.page("login.html", status=status, next=target, problem=str(refusal))

    async def log_out(self, _: Request) -> Response:
        response = RedirectResponse("/login", status_code=303)
        response.delete_cookie(self.sessions.cookie_name)
        return response

    # ------------------------------------------------------------------ what pages show
    def home(self, connection: Connection, entity: str, request: Request) -> Content:
        if request.path_params.get("entity", entity) != entity:
            raise Missing
        projects = list_projects(connection, entity, 0, 200).items
        counted = [(item, count_runs(connection, of_project(item.id))) for item in projects]
        return {"projects": counted}

    def project(self, connection: Connection, entity: str, request: Request) -> Content:
        found = see_project(connection, entity, request)
        rows, total = self.rows.rows(connection, of_project(found.id))
        choice = Choice.of(request.query_params)
        sweeps = [
            (item, title_of(item), count_runs(connection, of_sweep(item.id)))
            for item in list_sweeps(connection, found.id, 0, 200).items
        ]
        return {
            "project": found,
            "sweeps": sweeps,
            "table": draw(rows, choice),
            "choice": choice,
            "states": Counter(str(row.values["state"]) for row in rows).most_common(),
            "token": self.sessions.form_token(request),
            "total": total,
            "left_out": max(0, total - MAX_RUNS),
            "comparisons": self.comparisons.of(connection, rows, MOST_AT_ONCE),
        }

    def project_data(self, connection: Connection, entity: str, request: Request) -> Content:
        found = see_project(connection, entity, request)
        since = self._since(request)
        every, total = self.rows.rows(connection, of_project(found.id))
        rows = [row for row in every if since is None or row.updated_at >= since]
        return {
            **payload(rows, total, since),
            "comparisons": self.comparisons.of(connection, every),
            "deleted": [run.name for run, _ in list_bin(connection, found.id)],
        }

    def _since(self, request: Request) -> float | None:
        """From when on changes are asked for; None, for all, if the clock was set back since."""
        since = number_in(request, "since")
        is_ahead = since is not None and since > self.services.clock() + 60
        return None if is_ahead else since

    def filter_data(self, connection: Connection, entity: str, request: Request) -> Content:
        """Which runs a query finds, and what may stand at its cursor."""
        found = see_project(connection, entity, request)
        rows, _ = self.rows.rows(connection, of_project(found.id))
        return filtered(rows, request.query_params.get("q", ""), number_in(request, "at"))

    def curve_data(self, connection: Connection, entity: str, request: Request) -> Content:
        """One metric over all runs of the project (those changed at `since` or later)."""
        found = see_project(connection, entity, request)
        key = request.query_params.get("key", "")[:300]
        since = self._since(request) or 0.0
        scope = of_project(found.id)
        only = set(filter(None, request.query_params.get("runs", "").split(",")))
        listed = connection.execute(
            f"SELECT id, name, revision, updated_at FROM run WHERE {scope.sql} "
            "ORDER BY id DESC LIMIT ?",
            (*scope.values, MAX_RUNS),
        ).fetchall()
        drawn = [
            (row["name"], self.curves.curve(connection, row["id"], row["revision"], key))
            for row in listed
            if row["updated_at"] >= since and (not only or row["name"] in only)
        ]
        answer = curves_payload([(name, points) for name, points in drawn if points], len(listed))
        latest = max((row["updated_at"] for row in listed), default=since)
        described = {"key": key, "heading": heading_of(key), "better": better_of(key)}
        return {**answer, **described, "at": latest}

    def sweep(self, connection: Connection, entity: str, request: Request) -> Content:
        project, sweep = see_sweep(connection, entity, request)
        shown = sweep_payload(connection, sweep, self.rows)
        return {
            "project": project,
            "sweep": sweep,
            "shown": shown,
            "now": self.services.clock(),
            "actions": ACTIONS[sweep.state],
            "token": self.sessions.form_token(request),
            **drawn(shown),
        }

    def importance(self, connection: Connection, entity: str, request: Request) -> Content:
        """How much each parameter of a sweep matters for its metric."""
        _, sweep = see_sweep(connection, entity, request)
        return importance_payload(sweep_payload(connection, sweep, self.rows))

    def compare(self, connection: Connection, entity: str, request: Request) -> Content:
        """Two to four runs side by side."""
        project = see_project(connection, entity, request)
        named = request.query_params.get("runs", "")
        return {"project": project, **compared(connection, self.services, project, named)}

    def sweep_data(self, connection: Connection, entity: str, request: Request) -> Content:
        project, sweep = see_sweep(connection, entity, request)
        deleted = [run.name for run, _ in list_bin(connection, project.id)]
        return {**sweep_payload(connection, sweep, self.rows), "deleted": deleted}

    def sweep_filter(self, connection: Connection, entity: str, request: Request) -> Content:
        _, sweep = see_sweep(connection, entity, request)
        shown = sweep_payload(connection, sweep, self.rows)
        query = request.query_params.get("q", "")
        return filtered_points(shown, query, number_in(request, "at"))

    def run(self, connection: Connection, entity: str, request: Request) -> Content:
        project, run = see_run(connection, entity, request)
        sweep = get_sweep(connection, run.sweep_id)
        row = row_of(run, {sweep.id: sweep.name} if sweep else {})
        return {
            "project": project,
            "run": run,
            "sweep": sweep,
            "row": row,
            "sweep_title": title_of(sweep) if sweep else "",
            "token": self.sessions.form_token(request),
            "config": shown_values(run.config_values()),
            "summary": shown_values(run.summary_values()),
            "predictions": predictions_of(connection, self.services, run),
            "console": console_of(connection, run),
            "files": files_of(connection, self.services, run),
            "artifacts": artifacts_of(connection, self.services, run),
        }

    def run_data(self, connection: Connection, entity: str, request: Request) -> Content:
        """Charts and console of a run, unless nothing has changed since `revision`."""
        _, run = see_run(connection, entity, request)
        known = number_in(request, "revision")
        answer: Content = {
            "revision": run.revision,
            "state": shown_state(run),
            "is_live": not run.is_over,
            "duration_s": row_of(run, {}).values["duration_s"],
        }
        if known == run.revision:
            return answer
        first = number_in(request, "line")
        answer["history"] = self.histories.payload(connection, run.id, HISTORY)
        answer["better"] = {k: better_of(k) for k in answer["history"] if is_judged(k)}
        answer["system"] = self.histories.payload(connection, run.id, EVENTS)
        answer["summary"] = [[key, value] for key, value in shown_values(run.summary_values())]
        answer["console"] = console_of(connection, run, int(first) if first is not None else None)
        return answer

    # ------------------------------------------------------------------ how they get there
    def page(self, template: str, content: Callable[..., Content]) -> Callable[..., Any]:
        """A page for logged-in users; others are asked for a key."""

        async def answer(request: Request) -> Response:
            try:
                entity = await self._in_thread(self.sessions.entity_of, request)
                if entity is None:
                    return RedirectResponse(login_address(request), status_code=303)
                return await self.lane.run(entity, self._draw, request, template, entity, content)
            except Missing:
                return self.drawing.page("missing.html", status=404)
            except Refused as refusal:
                status = refusal.status if refusal.status != 200 else 503
                return self.drawing.page("refused.html", status=status, problem=str(refusal))
            except Exception:
                log.exception("a page of the kind %s failed", template)
                words = "The server failed to make this page; its log says why."
                return self.drawing.page("refused.html", status=500, problem=words)

        return answer

    def _draw(
        self, request: Request, template: str, entity: str, content: Callable[..., Content]
    ) -> Response:
        return self.drawing.page(template, entity=entity, **self._read(request, entity, content))

    def data(self, content: Callable[..., Content]) -> Callable[..., Any]:
        """The same as JSON, for the script of a page."""

        async def answer(request: Request) -> Response:
            headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
            try:
                entity = await self._in_thread(self.sessions.entity_of, request)
                if entity is None:
                    return JSONResponse({"error": "log in first"}, 401, headers)
                return await self.lane.run(entity, self._pack, request, entity, content, headers)
            except Missing:
                return JSONResponse({"error": "no such page"}, 404, headers)
            except Refused as refusal:
                status = refusal.status if refusal.status != 200 else 503
                return JSONResponse({"error": str(refusal)}, status, headers)
            except Exception:
                log.exception("the data of a page failed")
                return JSONResponse({"error": "the server failed; its log says why"}, 500, headers)

        return answer

    def _pack(
        self,
        request: Request,
        entity: str,
        content: Callable[..., Content],
        headers: dict[str, str],
    ) -> Response:
        """JSON, packed where it is long: pages are often seen through a tunnel."""
        body = to_json(self._read(request, entity, content))
        headers = {**headers, "Vary": "Accept-Encoding"}
        if len(body) >= PACK_BYTES and "gzip" in request.headers.get("accept-encoding", ""):
            body = gzip.compress(body, compresslevel=3)
            headers["Content-Encoding"] = "gzip"
        return Response(body, 200, headers, "application/json")

    def _read(self, request: Request, entity: str, content: Callable[..., Content]) -> Content:
        with self.services.database.read(Budget()) as connection:
            return content(connection, entity, request)

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.pool, work, *arguments)


def page_routes(
    services: Services, identity: Identity, pool: ThreadPoolExecutor, lane: Lane
) -> list[Route]:
    """The routes of all pages."""
    return Pages(services, identity, pool, lane).routes()
