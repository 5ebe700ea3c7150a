"""One study, read by the report, the project page, the terminal, `select` and back from CSV: every
one of them names the same learning rate, the same retention and the same interval."""

import io
import json
import random
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from agent.report import layouts, tables
from agent.report.terminal import print_selections, print_study
from agent.report.writing import with_scores, write_scores
from agent.results.choices import choices_of
from agent.results.csv_table import read_csv, with_curves, write_csv, write_curves
from agent.results.presentation import setting_text
from agent.results.run_table import Row
from agent.results.selected import marks_of, selected_key
from agent.results.study import FamilyReport, Study, examine
from agent.server.pages.study import study_row
from agent.server.pages.variants import comparison_payload
from agent.server.store.records import Run
from agent.tracking.project_runs import read_run
from tests.results.known_table import CELLS, pruned, run

Answer = tuple[str, str]  # learning rate, retention with its interval


def a_table(number: int) -> list[Row]:
    """Some runs of one study: seeds that ran twice, stopped and void runs, tests, two GPUs."""
    dice = random.Random(number)
    rates = dice.sample([1e-5, 3e-5, 1e-4, 3e-4, 1e-3], dice.randint(1, 3))
    count = dice.choice([0, 12, 40])
    is_tested = dice.random() < 0.4
    rows: list[Row] = []
    for cell in dice.sample(sorted(CELLS), dice.randint(1, 5)):
        for rate in rates:
            for seed in [*range(dice.randint(1, 3)), *([0] if dice.random() < 0.3 else [])]:
                rows.append(_a_run(dice, cell, rate, seed, count, is_tested, f"run{len(rows)}"))
    dice.shuffle(rows)
    return rows


def _a_run(
    dice: random.Random, cell: str, rate: float, seed: int, count: int, is_tested: bool, name: str
) -> Row:
    if dice.random() < 0.15:
        return pruned(cell, rate, ((1.0, round(dice.random(), 4)),), seed=seed, run_id=name)
    scores = {f"e{i}": dice.choice([0.0, 0.5, 1.0]) for i in range(count)}
    score = sum(scores.values()) / count if count else round(dice.random(), 4)
    more: dict[str, Any] = {
        "hardware__gpu": dice.choice(["A100", "A100", "H100"]),
        "inference__avg_latency_ms_per_sample": round(dice.uniform(5, 50), 3),
        "inference__model_size_gb": round(dice.uniform(0.5, 4), 3),
        "training__key": dice.choice([None, f"t{rate}{seed}"]),
    }
    if is_tested:
        more["test__f1_score"] = score
    curve = ((1.0, round(dice.random(), 4)), (3.0, score))
    made = run(cell, rate, score, seed=seed, run_id=name, curve=curve, scores=scores, **more)
    if is_tested and scores:
        made = replace(made, scores={"validation": scores, "test": scores})
    tag = dice.choice([*[""] * 8, "diverged", "invalid"])
    state = dice.choice([*["finished"] * 8, "failed", "running", "preempted"])
    return replace(made, tags=frozenset({tag} - {""}), state=state)


def _numbers(text: str) -> str:
    """`96.0 [93.1, 99.4]` of any way to write it."""
    return " ".join(re.findall(r"\d+\.\d+", text))


def of_report(family: FamilyReport) -> dict[str, Answer]:
    table = tables.retention_table(family)
    titles = [heading.title for heading in table.headings]
    return {
        row[0].text: (
            row[titles.index("Learning rate")].text,
            _numbers(row[titles.index("Best vs best (%)")].text),
        )
        for row in table.rows
        if row[0].text != "Full LoRA"
    }


def of_page(study: Study) -> dict[str, Answer]:
    (payload,) = comparison_payload(study)
    found = {}
    for line in payload["lines"]:
        rate = line["texts"][1].removeprefix("learning_rate ").partition(",")[0]
        text = rate
        found[line["variant"]] = (text, _numbers(line["texts"][3]))
    found.pop("Full LoRA", None)
    return found


def of_terminal(study: Study, labels: list[str]) -> dict[str, Answer]:
    console = Console(file=io.StringIO(), width=300)
    print_study(study, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    lines = [line.strip() for line in text.split("\n")]
    found = {}
    for label in labels:
        cells = re.split(r"\s{2,}", next(x for x in lines if x.startswith(f"{label}  ")))
        cells = [cell.strip() for cell in cells]  # variant, rate, seeds, score, best vs best, …
        is_chosen = len(cells) > 4 and re.match(r"\d\.\d", cells[3])
        rate, ratio = (cells[1], cells[4]) if is_chosen else ("", "")
        found[label] = (rate, _numbers(ratio))
    return found


def of_select(study: Study) -> dict[str, Answer]:
    (family,) = study.families
    found = {}
    for choice in choices_of(family):
        record = json.loads(json.dumps(choice.describe()))
        rate = record["chosen"]["learning_rate"] if record["chosen"] else None
        kept = record.get("retention")
        numbers = [kept[key] for key in ("value", "low", "high")] if kept else []
        words = " ".join(f"{100 * number:.1f}" for number in numbers if number is not None)
        found[choice.selection.label] = (setting_text(rate), words)
    found.pop("Full LoRA", None)
    return found


def scores_of(family: FamilyReport) -> dict[str, float]:
    return {cell.label: cell.score for cell in family.cells if cell.score is not None}


def of_workspace(study: Study) -> dict[str, float]:
    """W&B's bars: the mean over all runs that have the key, grouped by variant."""
    metric = study.families[0].metric
    groups: dict[str, list[float]] = {}
    for values in marks_of(study).values():
        value = values.get(selected_key(metric))
        if isinstance(value, float):
            groups.setdefault(str(values["selected/variant"]), []).append(value)
    return {label: sum(found) / len(found) for label, found in groups.items()}


@pytest.mark.parametrize("block", range(10))
def test_report_page_terminal_select_and_csv_agree(block: int) -> None:
    for number in range(20 * block, 20 * block + 20):
        rows = a_table(number)
        study = examine(rows)
        (family,) = study.families
        expected = of_report(family)
        assert of_page(study) == expected, number
        assert of_terminal(study, list(expected)) == expected, number
        assert of_select(study) == expected, number
        assert of_workspace(study) == pytest.approx(scores_of(family)), number
        back = read_csv(write_csv(rows))
        back = with_scores(with_curves(back, write_curves(rows)), write_scores(rows))
        again = examine(back)
        assert of_report(again.families[0]) == expected, number
        assert [layouts.markdown(t) for t in tables.family_tables(again)[0]] == [
            layouts.markdown(t) for t in tables.family_tables(study)[0]
        ], number


def test_the_terminal_lists_the_choices_with_the_same_sentences() -> None:
    study = examine(a_table(3))
    console = Console(file=io.StringIO(), width=300)
    choices = choices_of(study.families[0])
    print_selections(choices, [], is_planned=False, console=console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for cell in study.families[0].cells:
        if not cell.is_baseline and cell.selection.chosen:
            assert study.families[0].sentence(cell) in text


@pytest.mark.parametrize("number", range(20))
def test_the_server_and_the_public_api_make_the_same_row(number: int) -> None:
    for row in a_table(number):
        config: dict[str, Any] = {
            k: v for k, v in row.values.items() if "/" not in k and k != "epoch"
        }
        config |= {"tuned": ["learning_rate"], "pruner_options": {"a": 1}}
        summary: dict[str, Any] = {k: v for k, v in row.values.items() if k not in config}
        summary |= {"_step": 3, "media": {"_type": "table-file"}, "nested": {"max": 0.123456789}}
        tags = sorted(row.tags)
        api = SimpleNamespace(
            id=row.run_id,
            name="n",
            state=row.state,
            job_type="training",
            tags=tags,
            config=config,
            summary=summary,
        )
        fields: dict[str, Any] = dict.fromkeys(Run.__dataclass_fields__)
        fields |= {
            "name": row.run_id,
            "display_name": "n",
            "state": row.state,
            "job_type": "training",
            "config": json.dumps({k: {"value": v} for k, v in config.items()}),
            "summary": json.dumps(summary),
            "tags": json.dumps(tags),
        }
        stored = Run(**fields)
        assert study_row(stored) == read_run(api, "", with_curves=False)


def test_of_five_runs_with_one_seed_twice_all_name_the_same_rate() -> None:
    """Seed 0 ran twice at 1e-4: a mean over runs would say 0.733, over seeds it is 0.70."""
    rows = [
        run("full", 1e-4, 0.8, seed=0, run_id="a"),
        run("full", 1e-4, 0.8, seed=0, run_id="b"),
        run("full", 1e-4, 0.6, seed=1, run_id="c"),
        run("full", 3e-4, 0.72, seed=0, run_id="d"),
        run("full", 3e-4, 0.72, seed=1, run_id="e"),
        run("qlora4", 3e-4, 0.36, seed=0),
        run("qlora4", 3e-4, 0.36, seed=1),
    ]
    study = examine(rows)
    (family,) = study.families
    (full, quantised) = family.cells
    assert full.score == pytest.approx(0.72)
    assert full.selection.chosen is not None
    assert full.selection.chosen.tuned == (("learning_rate", 3e-4),)
    assert quantised.best.value == pytest.approx(0.5)
    expected = {"QLoRA int4": ("0.0003", "50.0")}
    assert of_report(family) == of_page(study) == of_select(study) == expected
    assert of_terminal(study, ["QLoRA int4"]) == expected
    (payload,) = comparison_payload(study)
    assert payload["lines"][0]["texts"][:3] == [
        "5 of 5",
        "learning_rate 0.0003, 2 seeds",
        "0.720",
    ]


def test_a_setting_is_one_however_the_sweep_wrote_it() -> None:
    """W&B keeps a sweep's value as its YAML had it: `3e-4` is text there, and `'1'` quoted."""
    numbers = [
        run("full", 1e-4, 0.8, seed=0, run_id="a"),
        run("full", 1e-4, 0.6, seed=1, run_id="b"),
        run("full", 3e-4, 0.72, seed=0, run_id="c"),
        run("full", 3e-4, 0.72, seed=1, run_id="d"),
        run("qlora4", 3e-4, 0.36, seed=0, run_id="e"),
        run("qlora4", 3e-4, 0.36, seed=1, run_id="f"),
    ]
    texts = {1e-4: "1e-4", 3e-4: "3e-4", 0: "0", 1: "1.0", 3: "3", "None": "none"}
    written = [
        read_run(
            SimpleNamespace(
                id=row.run_id,
                name="n",
                state=row.state,
                job_type="training",
                tags=[],
                config={
                    k: texts.get(v, v) if number % 2 else v
                    for k, v in row.values.items()
                    if "/" not in k and k != "epoch"
                },
                summary={k: v for k, v in row.values.items() if "/" in k or k == "epoch"},
            ),
            "demo",
            with_curves=False,
        )
        for number, row in enumerate(numbers)
    ]
    study = examine(written)
    expected = {"QLoRA int4": ("0.0003", "50.0")}
    assert of_report(study.families[0]) == of_page(study) == of_select(study) == expected
    assert of_terminal(study, ["QLoRA int4"]) == expected
    kept = [family.label for family in examine(numbers).families]
    assert [family.label for family in study.families] == kept
    assert [family.label for family in examine(read_csv(write_csv(written))).families] == kept
