"""One study, read by the report, the project page, the terminal, `select` and back from CSV: every
one of them names the same learning rate, the same retention and the same interval."""

import io
import json
import random
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from agent.report import layouts, tables
from agent.report.terminal import print_selections, print_study
from agent.report.writing import with_scores, write_scores
from agent.results.choices import choices_of
from agent.results.columns import COLUMNS, TEST_SCORE
from agent.results.csv_table import read_csv, with_curves, write_csv, write_curves
from agent.results.presentation import setting_text
from agent.results.run_table import Row
from agent.results.selected import marks_of, selected_key
from agent.results.study import Study, examine
from agent.server.pages.study import study_row
from agent.server.pages.variants import comparison_payload
from agent.server.store.records import Run
from agent.tracking.project_runs import read_run
from tests.results.known_table import CELLS, pruned, run

TWO_SEEDS = [
    run(cell, rate, f1, seed=seed)
    for cell, rate, scores in (
        ("full", 1e-4, (0.8, 0.6)),
        ("full", 3e-4, (0.72, 0.72)),
        ("qlora4", 3e-4, (0.36, 0.36)),
    )
    for seed, f1 in enumerate(scores)
]


@dataclass(frozen=True)
class Answer:
    """What is shown of one variant, as the digits that stand there."""

    rate: str
    seeds: str
    score: str
    retention: str  # and its interval
    is_one_seed: bool
    examples: str  # of the interval
    complete: str
    costs: dict[str, str]  # by heading; those that are known
    gains: tuple[str, ...]


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
        "inference__time_per_output_token_ms": round(dice.uniform(2, 9), 3),
        "inference__tokens_out": round(dice.uniform(9, 12), 2),
        "inference__flops_per_query_gflops": round(dice.uniform(20, 90), 2),
        "train__peak_vram_gb": round(dice.uniform(9, 70), 2),
        "train__epoch_time_min": round(dice.uniform(3, 70), 2),
        "train__total_training_flops_tflops": round(dice.uniform(100, 900), 1),
        "train__gpu_seconds": round(dice.uniform(100, 900), 1),
        "train__own_gpu_seconds": round(dice.uniform(100, 900), 1),
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


def _ratios(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[\d.]+(?=×)", text))


def _filled(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {heading: text for heading, text in pairs if text}


def of_report(study: Study) -> dict[str, Answer]:
    """From the report's three tables of the study's only family."""
    ((kept, costs, gained, _),) = tables.family_tables(study)
    found = {}
    for row, spent, won in zip(kept.rows, costs.rows, gained.rows, strict=True):
        text = {h.title: cell.text for h, cell in zip(kept.headings, row, strict=True)}
        retention = text["Best vs best (%)"]
        titles = [heading.title for heading in costs.headings[1:]]
        found[row[0].text] = Answer(
            text["Learning rate"],
            text["Seeds"],
            row[3].text,
            _numbers(retention),
            tables.ONE_SEED_MARK in retention,
            text["n"],
            text["Complete"],
            _filled(zip(titles, (cell.text for cell in spent[1:]), strict=True)),
            tuple(cell.text for cell in won[1:] if cell.text),
        )
    found.pop("Full LoRA", None)
    return found


def of_page(study: Study) -> dict[str, Answer]:
    (payload,) = comparison_payload(study)
    found = {}
    for line in payload["lines"]:
        text = dict(zip(payload["headings"], line["texts"], strict=True))
        rate, _, seeds = text["Best at"].removeprefix("learning_rate ").partition(", ")
        costs = payload["headings"][4:]
        examples = re.search(r"n = (\d+)", line["sentence"])
        found[line["variant"]] = Answer(
            rate,
            seeds.removesuffix(" seeds") or ("1" if rate else ""),
            line["texts"][2],
            _numbers(text["Retention"].partition("(")[0]),
            "one seed" in text["Retention"],
            examples[1] if examples else "",
            text["Complete runs"].partition(" of ")[0],
            _filled((h, text[h]) for h in costs if h != "Gains"),
            _ratios(text.get("Gains", "")),
        )
    found.pop("Full LoRA", None)
    return found


def of_terminal(study: Study) -> list[list[str]]:
    """The cells of the terminal's table, by the places where its headings end."""
    console = Console(file=(out := io.StringIO()), width=300)
    print_study(study, console)
    lines = out.getvalue().split("\n")
    rule = next(i for i, line in enumerate(lines) if line.startswith("───"))
    ends = [match.end() for match in re.finditer(r"\S+(?: \S+)*", lines[rule - 1])]
    labels = {cell.label for family in study.families for cell in family.cells}
    first = max(len(label) for label in labels)
    ends[0] = max(ends[0], first)
    found = []
    for line in lines[rule + 1 :]:
        places = zip([0, *ends[:-1]], ends, strict=True)
        cells = [line[start:end].strip() for start, end in places]
        if cells[0] in labels and not line.startswith(f"{cells[0]}, "):
            found.append(cells)
    return found[: len(labels)]


def of_select(study: Study) -> dict[str, tuple[str, str, str, str, bool, str]]:
    """Rate, seeds, score, retention, whether it rests on one seed, and on how many examples."""
    (family,) = study.families
    found = {}
    for choice in choices_of(family):
        record = json.loads(json.dumps(choice.describe()))
        chosen = record["chosen"] or {"learning_rate": None, "seeds": []}
        kept = record.get("retention") or {}
        numbers = [kept.get(key) for key in ("value", "low", "high")]
        score = chosen["test"] if family.metric == TEST_SCORE and record["chosen"] else None
        score = chosen.get("mean") if score is None else score
        count, clusters = kept.get("examples"), kept.get("clusters")
        found[choice.selection.label] = (
            setting_text(chosen["learning_rate"]),
            str(len(chosen["seeds"]) or ""),
            "" if score is None else f"{score:.3f}",
            " ".join(f"{100 * number:.1f}" for number in numbers if number is not None),
            kept.get("seeds") == 1,
            "" if count is None else f"{count} in {clusters}" if clusters < count else str(count),
        )
    found.pop("Full LoRA", None)
    return found


def bars_of(study: Study, key: str) -> dict[str, float]:
    """W&B's bars: the mean over all runs that have the key, grouped by variant."""
    groups: dict[str, list[float]] = {}
    for values in marks_of(study).values():
        value = values.get(selected_key(key))
        if isinstance(value, int | float):
            groups.setdefault(str(values["selected/variant"]), []).append(value)
    return {label: sum(found) / len(found) for label, found in groups.items()}


def assert_bars_are_those_of(study: Study) -> None:
    (family,) = study.families
    scores = {cell.label: cell.score for cell in family.cells if cell.score is not None}
    assert bars_of(study, family.metric) == pytest.approx(scores)
    for column in COLUMNS:
        if column.key == family.metric:
            continue
        known = {cell.label: cell.costs.get(column.key) for cell in family.cells}
        alike = {name: cost.mean for name, cost in known.items() if cost and not cost.other_gpu}
        assert bars_of(study, column.key) == pytest.approx(alike), column.key


def page_says_of(answer: Answer, headings: Collection[str]) -> Answer:
    """What the page has room for: no deviation beside a score, the costs of its choice."""
    costs = {h: text for h, text in answer.costs.items() if h in headings}
    return replace(
        answer,
        score=answer.score.partition(" ")[0],
        examples=answer.examples.partition(" ")[0],
        costs=costs,
    )


@pytest.mark.parametrize("block", range(10))
def test_report_page_terminal_select_workspace_and_csv_agree(block: int) -> None:
    for number in range(20 * block, 20 * block + 20):
        rows = a_table(number)
        study = examine(rows)
        report = of_report(study)
        page = of_page(study)
        headings = {heading for answer in page.values() for heading in answer.costs}
        said = {name: replace(answer, costs={}) for name, answer in page.items()}
        wanted = {name: page_says_of(answer, headings) for name, answer in report.items()}
        assert {n: replace(a, costs={}) for n, a in wanted.items()} == said, number
        for name, answer in wanted.items():
            scores = {h: t for h, t in page[name].costs.items() if h.endswith(" F1")}
            assert page[name].costs == {**scores, **answer.costs}, number
        ((kept, *_),) = tables.family_tables(study)
        assert of_terminal(study) == [[cell.text for cell in row] for row in kept.rows], number
        assert of_select(study) == {
            name: (
                a.rate,
                a.seeds,
                a.score.partition(" ")[0],
                a.retention,
                a.is_one_seed,
                a.examples,
            )
            for name, a in report.items()
        }, number
        assert_bars_are_those_of(study)
        back = read_csv(write_csv(rows))
        back = with_scores(with_curves(back, write_curves(rows)), write_scores(rows))
        again = examine(back)
        assert of_report(again) == report, number
        assert [layouts.markdown(t) for t in tables.family_tables(again)[0]] == [
            layouts.markdown(t) for t in tables.family_tables(study)[0]
        ], number
        assert (again.headline, again.spending) == (study.headline, study.spending), number


def test_the_terminal_lists_the_choices_with_the_same_sentences() -> None:
    study = examine(a_table(3))
    console = Console(file=(out := io.StringIO()), width=300)
    choices = choices_of(study.families[0])
    print_selections(choices, [], is_planned=False, console=console)
    for cell in study.families[0].cells:
        if not cell.is_baseline and cell.selection.chosen:
            assert study.families[0].sentence(cell) in out.getvalue()


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


def shown_by(study: Study) -> list[tuple[str, str]]:
    """The quantised variant's rate and retention, of report, page, select and terminal."""
    name = "QLoRA int4"
    report, page = of_report(study)[name], of_page(study)[name]
    selected = of_select(study)[name]
    cells = next(row for row in of_terminal(study) if row[0] == name)
    return [
        (report.rate, report.retention),
        (page.rate, page.retention),
        (selected[0], selected[3]),
        (cells[1], _numbers(cells[4])),
    ]


def test_of_five_runs_with_one_seed_twice_all_name_the_same_rate() -> None:
    """Seed 0 ran twice at 1e-4: a mean over runs would say 0.733, over seeds it is 0.70."""
    study = examine([*TWO_SEEDS, run("full", 1e-4, 0.8, run_id="again")])
    (family,) = study.families
    (full, quantised) = family.cells
    assert full.score == pytest.approx(0.72)
    assert full.selection.chosen is not None
    assert full.selection.chosen.tuned == (("learning_rate", 3e-4),)
    assert quantised.best.value == pytest.approx(0.5)
    assert shown_by(study) == [("0.0003", "50.0")] * 4
    (payload,) = comparison_payload(study)
    assert payload["lines"][0]["texts"][:3] == [
        "5 of 5",
        "learning_rate 0.0003, 2 seeds",
        "0.720",
    ]


def test_a_setting_is_one_however_the_sweep_wrote_it() -> None:
    """W&B keeps a sweep's value as its YAML had it: `3e-4` is text there, and `'1'` quoted."""
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
        for number, row in enumerate(TWO_SEEDS)
    ]
    study = examine(written)
    assert shown_by(study) == [("0.0003", "50.0")] * 4
    kept = [family.label for family in examine(TWO_SEEDS).families]
    assert [family.label for family in study.families] == kept
    assert [family.label for family in examine(read_csv(write_csv(written))).families] == kept
