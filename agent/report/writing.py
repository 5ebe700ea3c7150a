"""The report's files: one page, figures with their data, tables, and the rows they rest on."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from agent.errors import ReportError
from agent.files import write_atomically
from agent.report import latex, layouts, paper, web
from agent.report.figures import Figure
from agent.report.plots import figures_of
from agent.report.tables import TextTable, family_tables, runs_table
from agent.results.costs import spending_sentences
from agent.results.csv_table import write_csv, write_curves
from agent.results.run_table import Row
from agent.results.study import Study

PAGE = "report.html"


def write_report(
    study: Study,
    rows: Sequence[Row],
    folder: Path,
    *,
    x: str | None = None,
    y: str | None = None,
) -> tuple[Path, ...]:
    """Write everything below `folder` and return the paths, the page first.

    `table.csv`, `curves.csv` and `scores.csv` hold what the report was made from, so that it can
    be made again without a server. ReportError when the folder cannot be written.
    """
    figures = figures_of(study, x, y)
    files: dict[str, str | bytes] = {PAGE: web.page(study, figures)}
    files["report.md"] = markdown_report(study, figures)
    for figure in figures:
        files |= _figure_files(figure)
    for table in [t for tables in family_tables(study) for t in tables]:
        files[f"tables/{table.name}.tex"] = latex.latex(table)
        files[f"tables/{table.name}.csv"] = layouts.to_csv(table)
    files["table.csv"] = write_csv(rows)
    files["curves.csv"] = write_curves(rows)
    files["scores.csv"] = write_scores(rows)
    return tuple(_write(folder / name, content) for name, content in files.items())


def _figure_files(figure: Figure) -> Mapping[str, str | bytes]:
    """At the width of a column and, `-wide`, of a page; with the data of every panel."""
    files: dict[str, str | bytes] = {}
    for suffix, width in (("", paper.COLUMN_PT), ("-wide", paper.PAGE_PT)):
        for kind, content in paper.render(figure, width_pt=width).items():
            files[f"figures/{figure.name}{suffix}.{kind}"] = content
    data = {f"figures/{panel.name}.csv": panel.to_csv() for panel in figure.panels}
    return {**files, **data}


def _write(path: Path, content: str | bytes) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise ReportError(f"{path} cannot be written: {error.strerror or error}") from None
    return path


def markdown_report(study: Study, figures: Sequence[Figure] = ()) -> str:
    """The whole report as one Markdown text: what was found, quality and cost, then the tables and
    the other figures, whose files lie beside it."""
    answer = [*study.headline, *study.sentences]
    facts = [*spending_sentences(study.spending), *study.notes]
    if study.absent:
        names = ", ".join(f"{c.title} (`{c.key}`)" for c in study.absent)
        facts.append(f"Not recorded by any run: {names}.")
    first = [figure for figure in figures if figure.name.startswith("retention")]
    others = [figure for figure in figures if figure not in first]
    tables: list[TextTable] = [t for tables in family_tables(study) for t in tables]
    parts = [f"# {study.title}", _listed(answer), *map(_embedded, first)]
    parts += [_listed(facts), *(layouts.markdown(table) for table in tables)]
    parts += [*map(_embedded, others), layouts.markdown(runs_table(study))]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _listed(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _embedded(figure: Figure) -> str:
    """A figure with its caption; the title stands for it where images are not shown."""
    title = layouts.markdown_text(figure.title)
    return f"![{title}](figures/{figure.name}-wide.png)\n\n{layouts.markdown_text(figure.caption)}"


def write_scores(rows: Iterable[Row]) -> str:
    """Per-example scores as CSV: run_id, split, example_id, score, prompt_hash, source."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["run_id", "split", "example_id", "score", "prompt_hash", "source"])
    for row in rows:
        for split, scores in row.scores.items():
            prompts, sources = row.prompts.get(split, {}), row.sources.get(split, {})
            for example, score in scores.items():
                more = prompts.get(example, ""), sources.get(example, "")
                writer.writerow([row.run_id, split, example, score, *more])
    return out.getvalue()


def with_scores(rows: Sequence[Row], text: str, *, where: str = "the scores") -> tuple[Row, ...]:
    """The rows with the per-example scores of a CSV that `write_scores` wrote."""
    reader = csv.DictReader(io.StringIO(text))
    missing = {"run_id", "split", "example_id", "score"} - set(reader.fieldnames or [])
    if missing:
        raise ReportError(f"{where} has no column {' and no column '.join(sorted(missing))}")
    scores: dict[str, dict[str, dict[str, float]]] = {}
    prompts: dict[str, dict[str, dict[str, str]]] = {}
    sources: dict[str, dict[str, dict[str, str]]] = {}
    for number, record in enumerate(reader, start=2):
        run, split, example = record["run_id"], record["split"], record["example_id"]
        try:
            scores.setdefault(run, {}).setdefault(split, {})[example] = float(record["score"])
        except (TypeError, ValueError):
            raise ReportError(
                f"{where}, line {number}: score {record['score']!r} is not a number"
            ) from None
        if record.get("prompt_hash"):
            prompts.setdefault(run, {}).setdefault(split, {})[example] = record["prompt_hash"]
        if record.get("source"):
            sources.setdefault(run, {}).setdefault(split, {})[example] = record["source"]
    return tuple(
        replace(
            row,
            scores=scores.get(row.run_id, {}),
            prompts=prompts.get(row.run_id, {}),
            sources=sources.get(row.run_id, {}),
        )
        for row in rows
    )
