"""What is wrong with a query, and where."""

from collections.abc import Sequence

from agent.errors import ReportError


class QueryError(ReportError):
    """`start` and `end` are the wrong word's place in the query, in characters; `near` what may
    have been meant."""

    def __init__(self, problem: str, start: int, end: int, near: Sequence[str] = ()) -> None:
        self.problem = problem
        self.start = start
        self.end = max(end, start)
        self.near = tuple(near)
        super().__init__(self.sentence)

    @property
    def sentence(self) -> str:
        """One line without the query itself; characters count from 1, as people count."""
        meant = f"; near: {', '.join(self.near)}" if self.near else ""
        return f"{self.problem} (character {self.start + 1}){meant}"
