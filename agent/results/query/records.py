"""What a query is asked of: runs as flat values, whichever reader they come from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agent.results.comparable import cell_label, cell_of
from agent.results.outcome import Outcome
from agent.results.run_table import Row

Scalar = str | float | int | bool | None


@dataclass(frozen=True, slots=True)
class Record:
    """One run. `words` are its texts in lower case, which free text is looked for in; `origins`
    says of a key whether it is of the run itself, its config or its summary, where known."""

    values: Mapping[str, Scalar]
    words: str
    origins: Mapping[str, str] = field(default_factory=dict)


def record_of(values: Mapping[str, Scalar], origins: Mapping[str, str] | None = None) -> Record:
    return Record(values, words_of(values.values()), origins or {})


def words_of(values: Iterable[Scalar]) -> str:
    """The texts among some values, one a line: a search never finds the end of one and the
    beginning of the next."""
    return "\n".join(value for value in values if isinstance(value, str)).lower()


def record_of_row(row: Row) -> Record:
    """A run as report and `select` read it. Its own fields are called as on the pages."""
    own: dict[str, Scalar] = {
        "name": row.name,
        "id": row.run_id,
        "state": row.state if row.outcome is Outcome.UNKNOWN else row.outcome.value,
        "variant": cell_label(cell_of(row)) if row.text("model_variant") else None,
        "project": row.project,
        "tags": ", ".join(sorted(row.tags)),
    }
    known = {key: value for key, value in own.items() if value not in (None, "")}
    origins = dict.fromkeys(known, "run")
    values = {f"config.{k}" if k in known else k: value for k, value in row.values.items()}
    return record_of({**values, **known}, origins)
