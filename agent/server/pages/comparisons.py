"""The variants of a project compared, worked out again only when something has changed."""

from collections.abc import Sequence
from typing import Any

from agent.server.pages.series import CurveCache
from agent.server.pages.study import StudyReader
from agent.server.pages.table import MAX_RUNS, Row
from agent.server.pages.variants import comparison_payload
from agent.server.services import Services
from agent.server.store.database import Connection

REMEMBERED = 32
MOST_AT_ONCE = 1_500  # runs that are compared before their page is sent


class Comparisons:
    """Remembered for the latest states of the projects that are looked at."""

    def __init__(self, services: Services, curves: CurveCache) -> None:
        self._services = services
        self._curves = curves
        self._known: dict[int, list[dict[str, Any]]] = {}

    def of(
        self, connection: Connection, rows: Sequence[Row], most: int = MAX_RUNS
    ) -> list[dict[str, Any]] | None:
        """What the page shows of the variants among the rows. None where there are more than `most`
        and they have not been compared yet: then the page comes first, and its script asks."""
        filed = connection.execute(  # predictions may have come without any change of a run
            "SELECT (SELECT max(updated_at) FROM run_file), max(updated_at), count(*) FROM artifact"
        ).fetchone()
        state = hash((*((row.place, row.updated_at) for row in rows), tuple(filed)))
        known = self._known.get(state)
        if known is None and len(rows) > most:
            return None
        if known is None:
            places = {row.id: row.place for row in rows}
            reader = StudyReader(connection, self._services, self._curves, places)
            known = comparison_payload(reader.study([row.study for row in rows if row.study]))
            if len(self._known) >= REMEMBERED:
                self._known.pop(next(iter(self._known)), None)
            self._known[state] = known
        return known
