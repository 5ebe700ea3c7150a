"""Runs side by side: where their configs differ, their summaries, and what each answered."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.config.objective import number_of
from agent.config.values import value_key
from agent.server.pages.metrics import heading_of
from agent.server.pages.run import SCORES, cell_text, prediction_records
from agent.server.pages.table import flat, row_of, shown_values
from agent.server.pages.view import text_of
from agent.server.refusals import Refused
from agent.server.services import Services
from agent.server.store.database import Connection
from agent.server.store.records import Project, Run
from agent.server.store.runs import find_run, is_in_bin

MOST_RUNS = 4
MOST_ANSWERS = 50
_ONCE = re.compile(r"(final|best|test|inference|stopped|selected|slurm|data|base|hardware)/")
_NAMES = ("example_id", "id", "prompt_hash", "prompt", "question")


@dataclass(frozen=True)
class Line:
    """One key of configs or summaries, with each run's value as text. `change` is the second
    value's distance from the first where both are numbers."""

    key: str
    texts: tuple[str, ...]
    differs: bool
    change: str = ""


@dataclass(frozen=True)
class Answer:
    """One example: what was asked and expected, and each run's answer and score."""

    prompt: str
    gold: str
    outputs: tuple[str, ...]
    scores: tuple[str, ...]


@dataclass(frozen=True)
class Answers:
    lines: tuple[Answer, ...] = ()
    count: int = 0  # examples that all runs have
    differing: int = 0  # of which so many got different scores
    problem: str = ""


def compared(
    connection: Connection, services: Services, project: Project, named: str
) -> dict[str, Any]:
    """What the page shows of the runs in a comma-separated list. Refused for fewer than two."""
    names = list(dict.fromkeys(filter(None, named.split(","))))
    found = [find_run(connection, project.id, name) for name in names[:MOST_RUNS]]
    runs = [run for run in found if run is not None and not is_in_bin(connection, run)]
    if len(runs) < 2:
        raise Refused("choose two to four runs of this project to compare", status=404)
    return {
        "runs": [(run, row_of(run, {})) for run in runs],
        "config": lines_of([run.config_values() for run in runs]),
        "summary": lines_of([run.summary_values() for run in runs]),
        "answers": answers_of(connection, services, runs),
        "metrics": [(key, heading_of(key)) for key in metrics_of(runs)],
    }


def lines_of(trees: Sequence[Mapping[str, Any]]) -> list[Line]:
    """Every key of any run, those that differ first."""
    every = [dict(shown_values(tree)) for tree in trees]
    lines = []
    for key in sorted(set().union(*every)):
        values = [values.get(key) for values in every]
        marks = [None if value is None else value_key(value) for value in values]
        texts = tuple(text_of("", value) for value in values)
        lines.append(Line(key, texts, len(set(marks)) > 1, _change(values)))
    return sorted(lines, key=lambda line: not line.differs)


def _change(values: Sequence[Any]) -> str:
    """`+0.012 (+1.6 %)`, from the first to the second; empty where they are alike or not two
    numbers."""
    if len(values) != 2:
        return ""
    one, other = map(number_of, values)
    if one is None or other is None or one == other:
        return ""
    share = f" ({100 * (other - one) / abs(one):+.1f} %)" if one else ""
    return f"{'+' if other > one else '−'}{text_of('', abs(other - one))}{share}"


def answers_of(connection: Connection, services: Services, runs: Sequence[Run]) -> Answers:
    """The examples that all runs answered, where their scores differ most first."""
    found = [prediction_records(connection, services, run) for run in runs]
    for run, records in zip(runs, found, strict=True):
        if isinstance(records, str):
            return Answers(problem=f"{run.display_name}: {records}")
    tables = [_by_name(records) for records in found if not isinstance(records, str)]
    shared = [name for name in tables[0] if all(name in table for table in tables[1:])]
    if not shared:
        return Answers(problem="The runs have no example in common.")
    ranked = sorted(shared, key=lambda name: -_spread([table[name] for table in tables]))
    differing = sum(_spread([table[name] for table in tables]) > 0 for name in shared)
    lines = tuple(_answer([table[name] for table in tables]) for name in ranked[:MOST_ANSWERS])
    return Answers(lines, len(shared), differing)


def _by_name(records: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The records under what names their example, else under their place."""
    name = next((k for k in _NAMES if records and all(r.get(k) for r in records)), None)
    return {str(r[name]) if name else str(i): r for i, r in enumerate(records)}


def _score(record: Mapping[str, Any]) -> float | None:
    found = (number_of(record.get(key)) for key in SCORES)
    return next((score for score in found if score is not None), None)


def _spread(records: Sequence[Mapping[str, Any]]) -> float:
    scores = [score for record in records if (score := _score(record)) is not None]
    return max(scores) - min(scores) if scores else 0.0


def _answer(records: Sequence[Mapping[str, Any]]) -> Answer:
    def first(*keys: str) -> str:
        known = (r[key] for r in records for key in keys if r.get(key) not in (None, ""))
        return cell_text(next(known, None))

    return Answer(
        first("prompt", "question", "input"),
        first("gold", "target", "expected"),
        tuple(cell_text(r.get("output", r.get("prediction"))) for r in records),
        tuple("" if (score := _score(r)) is None else f"{score:.3f}" for r in records),
    )


def metrics_of(runs: Sequence[Run]) -> list[str]:
    """Keys that any run has a number under and may have logged at every point: what curves can be
    drawn of."""
    return sorted(
        {
            key
            for run in runs
            for key, value in flat(run.summary_values())
            if number_of(value) is not None and not _ONCE.match(key)
        }
    )
