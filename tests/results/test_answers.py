"""The first thing that a reader of page, report and terminal sees, on projects of every kind."""

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from agent.report import web
from agent.report.plots import figures_of
from agent.report.terminal import print_answer
from agent.report.writing import markdown_report
from agent.results.run_table import Row
from agent.results.study import Study, examine
from agent.server.pages.variants import comparison_payload
from tests.results.known_table import pruned, run

ON_H100: dict[str, Any] = {
    "hardware__gpu": "H100",
    "inference__model_size_gb": 2.0,
    "train__peak_vram_gb": 10.0,
}
SMALLER: dict[str, Any] = {
    "hardware__gpu": "H100",
    "inference__model_size_gb": 0.82,
    "train__peak_vram_gb": 8.7,
}
F1 = "Full LoRA's final validation F1"


def runs(
    cell: str, level: float, seeds: int = 3, tag: str = "", rate: float = 1e-3, **more: Any
) -> list[Row]:
    """Complete runs over seeds, each scored on the same 400 examples, a little apart."""
    found = []
    for seed in range(seeds):
        right = round(400 * level) + seed
        scores = {f"e{i}": float(i < right) for i in range(400)}
        made = run(cell, rate, right / 400, seed=seed, scores=scores, **more)
        found.append(replace(made, tags=frozenset({tag} - {""})))
    return found


BOTH = [*runs("full", 0.8), *runs("qlora4", 0.6)]
RESOLVED = (
    "At n = 400 and 3 seeds QLoRA int4 keeps 75 % [70, 80] of Full LoRA's score: established."
)
OPEN = "At n = 400 and 3 seeds no difference between the variants is established."
INCOMPLETE = "Nothing can be compared with Full LoRA: no complete run."
BASE = Row("base", "baseline", {"final/validation_f1_score": 0.2}, name="Untouched base")
PROJECTS: dict[str, tuple[Sequence[Row], str, list[str]]] = {
    "a clear loss": (
        [*runs("full", 0.8, **ON_H100), *runs("qlora4", 0.6, **SMALLER)],
        RESOLVED,
        [
            f"QLoRA int4 keeps 75 % [70, 80] of {F1} at 0.41 of its size and 0.87 of its training "
            "memory; n = 400, 3 seeds."
        ],
    ),
    "a tie": (
        [*runs("full", 0.8), *runs("qlora4", 0.8)],
        OPEN,
        [f"QLoRA int4 keeps 100 % [98, 102] of {F1}; n = 400, 3 seeds."],
    ),
    "one seed": (
        [*runs("full", 0.8, 1), *runs("qlora4", 0.6, 1)],
        "At n = 400 and one seed no difference between the variants is established.",
        [
            f"QLoRA int4 keeps 75 % [70, 80] of {F1}; n = 400, one seed: training noise not "
            "included."
        ],
    ),
    "no baseline": (
        runs("qlora4", 0.6),
        "Nothing can be compared with Full LoRA: no complete Full LoRA run.",
        ["QLoRA int4: no retention (no complete Full LoRA run)."],
    ),
    "all pruned": (
        [pruned(cell, 1e-3, ((1.0, 0.1),), seed=s) for cell in ("full", "qlora4") for s in (0, 1)],
        INCOMPLETE,
        ["QLoRA int4: no retention (no complete run)."],
    ),
    "two types of GPU": (
        [*runs("full", 0.8, **ON_H100), *runs("qlora4", 0.6, **{**SMALLER, "hardware__gpu": "A"})],
        RESOLVED,
        [f"QLoRA int4 keeps 75 % [70, 80] of {F1} at 0.41 of its size; n = 400, 3 seeds."],
    ),
    "a diverged winner": (
        [*BOTH, *runs("qlora4", 0.95, tag="diverged", rate=5e-3)],
        RESOLVED,
        [f"QLoRA int4 keeps 75 % [70, 80] of {F1}; n = 400, 3 seeds."],
    ),
    "an invalid winner": (
        [*BOTH, *runs("full", 0.95, tag="invalid", rate=5e-3)],
        RESOLVED,
        [f"QLoRA int4 keeps 75 % [70, 80] of {F1}; n = 400, 3 seeds."],
    ),
    "no run": ([], "There are no runs yet, so nothing can be said about any variant.", []),
    "only the base": (
        [BASE],
        "There are no runs yet, so nothing can be said about any variant.",
        [],
    ),
    "only Full LoRA": (
        runs("full", 0.8),
        "Only Full LoRA has runs, so there is nothing to compare with it.",
        [],
    ),
    "costs of one side": (
        [*runs("full", 0.8, **ON_H100), *runs("qlora4", 0.6)],
        RESOLVED,
        [f"QLoRA int4 keeps 75 % [70, 80] of {F1}; n = 400, 3 seeds."],
    ),
    "still running": (
        [replace(row, state="running") for row in BOTH],
        INCOMPLETE,
        ["QLoRA int4: no retention (no complete run)."],
    ),
    "a baseline near 0": (
        [*runs("full", 0.0025), *runs("qlora4", 0.6)],
        "Without an interval, with 3 seeds, no difference between the variants is established.",
        [
            f"QLoRA int4 keeps 12050 % of {F1}; no interval: Full LoRA's score is not clear of 0, "
            "3 seeds."
        ],
    ),
    "runs of another study": (
        [Row("a", "finished", {"lr": 0.1, "acc": 0.9})],
        "The run names no model_variant, so nothing can be compared.",
        [],
    ),
}


def on_terminal(study: Study) -> str:
    out = io.StringIO()
    print_answer(study, Console(file=out, width=400))
    return out.getvalue()


@pytest.mark.parametrize("name", PROJECTS)
def test_the_answer_is_right_and_the_same_wherever_it_stands(name: str) -> None:
    rows, headline, sentences = PROJECTS[name]
    study = examine(rows)
    assert study.answer == (headline, *sentences)
    assert on_terminal(study).splitlines() == [headline, *sentences]
    lines = markdown_report(study).splitlines()
    assert lines[2 : 3 + len(sentences)] == [f"- {said}" for said in (headline, *sentences)]
    shown = comparison_payload(study)
    assert [one["headline"] for one in shown] == ([headline] if study.families else [])
    found = {line["sentence"] + "." for one in shown for line in one["lines"]}
    assert set(sentences) <= found


def test_the_page_of_a_report_begins_with_the_answer() -> None:
    study = examine(PROJECTS["a clear loss"][0])
    text = web.page(study, figures_of(study)).replace("&#39;", "'")
    body = text[text.index("<body>") : text.index("<table")]
    places = [body.index(said) for said in study.answer]
    assert places == sorted(places)
