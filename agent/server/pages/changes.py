"""What people change from a page: sweeps are steered; runs are described, stopped, deleted and
brought back.

Every change is a form with the token of the session. A script that asks for JSON learns in a
sentence what was done; a plain form leads back to its page.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from agent.server.pages.drawing import Drawing
from agent.server.pages.place import Missing, see_project, see_run, see_sweep
from agent.server.pages.session import Sessions, read_form
from agent.server.pages.sweep import ACTIONS
from agent.server.refusals import Refused
from agent.server.services import Services
from agent.server.store.claims import ask_to_stop
from agent.server.store.database import Connection
from agent.server.store.records import Project, Run
from agent.server.store.runs import change_run, find_run, put_in_bin, take_from_bin
from agent.server.store.sweeps import set_state

UNDO_S = 600.0  # how long a deleted run can be brought back
MAX_FORM_BYTES = 300_000
MAX_NOTES = 50_000  # characters
MAX_NAME = 500
MAX_TAG = 64
MAX_TAGS = 50
# Changes one form: (connection, entity, request, form) -> what was done, in a sentence.
Change = Callable[[Connection, str, Request, dict[str, str]], str]


@dataclass(frozen=True)
class Changes:
    """The forms of the pages."""

    services: Services
    sessions: Sessions
    drawing: Drawing
    pool: ThreadPoolExecutor

    def routes(self, project: str, sweep: str, run: str) -> list[Route]:
        return [
            Route(f"{sweep}/state", self._form(self.steer), methods=["POST"]),
            Route(f"{run}/describe", self._form(self.describe), methods=["POST"]),
            Route(f"{project}/change", self._form(self.change), methods=["POST"]),
        ]

    def _form(self, change: Change) -> Callable[[Request], object]:
        """A form that changes something and leads back to the page above its address."""

        async def answer(request: Request) -> Response:
            wants_json = "application/json" in request.headers.get("accept", "")
            try:
                form = await read_form(request, MAX_FORM_BYTES)
                done = await asyncio.get_running_loop().run_in_executor(
                    self.pool, self._change, request, form, change
                )
            except Refused as refusal:
                return self._refused(str(refusal), refusal.status, wants_json)
            except Missing:
                return self._refused("no such page for your key", 404, wants_json)
            if wants_json:
                return JSONResponse({"done": done}, headers={"Cache-Control": "no-store"})
            return RedirectResponse(request.url.path.rsplit("/", 1)[0], status_code=303)

        return answer

    def _refused(self, words: str, status: int, wants_json: bool) -> Response:
        if wants_json:
            return JSONResponse({"error": words}, status if status != 200 else 400)
        if status == 404:
            return self.drawing.page("missing.html", status=404)
        return self.drawing.page("refused.html", status=status, problem=words)

    def _change(self, request: Request, form: dict[str, str], change: Change) -> str:
        entity = self.sessions.entity_of(request)
        if entity is None:
            raise Refused("log in first", status=401)
        self.sessions.check_form(request, form)
        with self.services.database.write() as connection:
            return change(connection, entity, request, form)

    # ------------------------------------------------------------------ the changes
    def steer(
        self, connection: Connection, entity: str, request: Request, form: dict[str, str]
    ) -> str:
        """Start, pause, stop or cancel a sweep."""
        _, sweep = see_sweep(connection, entity, request)
        wanted = form.get("state", "")
        if wanted not in {action[0] for action in ACTIONS[sweep.state]}:
            raise Refused(f"a sweep that is {sweep.state} cannot become {wanted!r}", 409)
        set_state(connection, sweep, wanted, self.services.clock())
        return f"The sweep is {wanted.lower()}."

    def describe(
        self, connection: Connection, entity: str, request: Request, form: dict[str, str]
    ) -> str:
        """Name, notes and tags of one run; what the form does not name stays."""
        _, run = see_run(connection, entity, request)
        columns: dict[str, str] = {}
        if form.get("name", "").strip():
            columns["display_name"] = _bounded(form["name"].strip(), MAX_NAME, "the name")
        if "notes" in form:
            columns["notes"] = _bounded(form["notes"].replace("\r\n", "\n"), MAX_NOTES, "the notes")
        if "tags" in form:
            tags = [tag.strip() for tag in form["tags"].split(",")]
            columns["tags"] = _tags_text([tag for tag in tags if tag])
        change_run(connection, run, self.services.clock(), **columns)
        return "Saved."

    def change(
        self, connection: Connection, entity: str, request: Request, form: dict[str, str]
    ) -> str:
        """One action on several runs of a project."""
        project = see_project(connection, entity, request)
        runs = _runs_of(connection, project, form.get("runs", ""))
        actions: dict[str, Callable[[Connection, Sequence[Run]], str]] = {
            "stop": self._stop,
            "delete": self._delete,
            "restore": self._restore,
            "tag": partial(self._tag, tag=form.get("tag", "")),
        }
        wanted = form.get("action", "")
        if wanted not in actions:
            raise Refused(f"action {wanted[:40]!r}: use one of {', '.join(actions)}")
        return actions[wanted](connection, runs)

    def _stop(self, connection: Connection, runs: Sequence[Run]) -> str:
        now, policy = self.services.clock(), self.services.policy
        stopped = [run for run in runs if ask_to_stop(connection, run, now, policy)]
        if not stopped:
            raise Refused("none of these runs is running", 409)
        return f"{_count(stopped)} asked to stop; it ends with its next sign of life."

    def _delete(self, connection: Connection, runs: Sequence[Run]) -> str:
        ended = [run for run in runs if run.is_over]
        if not ended:
            raise Refused("a running run cannot be deleted: stop it first", 409)
        for run in ended:
            put_in_bin(connection, run, self.services.clock() + UNDO_S)
        left = len(runs) - len(ended)
        still = f" {left} still running: stop before deleting." if left else ""
        return f"{_count(ended)} deleted, for good in {UNDO_S / 60:.0f} minutes.{still}"

    def _restore(self, connection: Connection, runs: Sequence[Run]) -> str:
        now = self.services.clock()
        back = [run for run in runs if take_from_bin(connection, run, now)]
        if not back:
            raise Refused("these runs are deleted for good", 409)
        return f"{_count(back)} brought back."

    def _tag(self, connection: Connection, runs: Sequence[Run], tag: str) -> str:
        tag = tag.strip()
        if not tag or "," in tag:
            raise Refused("a tag is one or more characters without a comma")
        for run in runs:
            known = [str(one) for one in run.tag_list()]
            columns = {"tags": _tags_text([*known, tag])}
            change_run(connection, run, self.services.clock(), **columns)
        return f"{_count(runs)} tagged {tag}."


def _runs_of(connection: Connection, project: Project, names: str) -> list[Run]:
    """The runs of a comma-separated list, each once. Raises Refused for one that is missing."""
    found = []
    for name in dict.fromkeys(filter(None, names.split(","))):
        run = find_run(connection, project.id, name)
        if run is None:
            raise Refused(f"run {name[:80]!r} is not in this project (any more)", 404)
        found.append(run)
    if not found:
        raise Refused("no runs are selected")
    return found


def _tags_text(tags: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(tags))
    if len(distinct) > MAX_TAGS:
        raise Refused(f"{len(distinct)} tags: a run can have {MAX_TAGS}")
    for tag in distinct:
        _bounded(tag, MAX_TAG, f"the tag {tag[:20]!r}…" if len(tag) > MAX_TAG else "the tag")
    return json.dumps(distinct)


def _bounded(text: str, limit: int, what: str) -> str:
    if len(text) > limit:
        raise Refused(f"{what}: {len(text)} characters, at most {limit} can be kept")
    return text


def _count(runs: Sequence[Run]) -> str:
    return f"{len(runs)} run{'' if len(runs) == 1 else 's'}"
