"""The filter of a table of runs: one request answers which runs pass, or what is wrong.

    {"ids": [...], "places": [...], "count": 2, "total": 20, "states": {"finished": 2},
     "notes": [], "problem": null, "completion": {...}}

`places` are the rows' own, in the order of the page's data. `problem` is `{"text", "start", "end",
"near"}`, its places in characters of the query, and nothing passes then. `completion` is there when
the request gave its cursor as `at`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from agent.results.query.completion import complete
from agent.results.query.problems import QueryError
from agent.results.query.records import Record, record_of
from agent.results.query.search import Found, Runs
from agent.server.pages.table import Row


def runs_of(rows: Sequence[Row]) -> Runs:
    """The rows as a query is asked of them."""
    return Runs([Record(row.values, row.words, row.origins) for row in rows])


def filtered(rows: Sequence[Row], query: str, cursor: float | None = None) -> dict[str, Any]:
    """What a project's page needs to know, for an empty query too."""
    return _answer(runs_of(rows), [row.id for row in rows], query, cursor)


def filtered_points(
    shown: Mapping[str, Any], query: str, cursor: float | None = None
) -> dict[str, Any]:
    """The same for the points of a sweep's page, from the columns that the page is sent. A point
    without a run has an empty id."""
    total = shown["total"]
    columns = {c["key"]: c.get("values") or [c["constant"]] * total for c in shown["columns"]}
    origins = {c["key"]: c["origin"] for c in shown["columns"] if c["origin"] != "point"}
    records = [
        record_of({key: values[place] for key, values in columns.items()}, origins)
        for place in range(total)
    ]
    return _answer(Runs(records), shown["ids"], query, cursor)


def _answer(runs: Runs, ids: Sequence[str], query: str, cursor: float | None) -> dict[str, Any]:
    problem: dict[str, Any] | None = None
    found = Found(())
    try:
        found = runs.find(query)
    except QueryError as error:
        place = {"start": error.start, "end": error.end}
        problem = {"text": error.problem, **place, "near": list(error.near)}
    states = Counter(str(runs.records[place].values.get("state", "")) for place in found.places)
    answer: dict[str, Any] = {
        "ids": [ids[place] for place in found.places],
        "places": list(found.places),
        "count": len(found.places),
        "total": len(ids),
        "states": dict(states),
        "notes": list(found.notes),
        "problem": problem,
    }
    if cursor is not None and 0 <= cursor <= len(query):
        answer["completion"] = asdict(complete(query, int(cursor), runs))
    return answer
