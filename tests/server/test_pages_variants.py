"""The comparison of variants on a project page, against tables worked out by hand."""

import json
from typing import Any

import pytest

from agent.results.run_table import Row
from agent.results.sentences import ONE_SEED
from agent.results.study import Study, examine
from agent.server.pages.table import shown_state
from agent.server.pages.variants import compare, comparison_payload
from agent.server.store.records import Run
from tests.server.pages_reader import see
from tests.server.server_lab import Lab

SCORE = "final/validation_f1_score"


def run(variant: str, rate: float, score: float | None, **more: Any) -> dict[str, Any]:
    name, _, strategy = variant.rpartition(" ") if "int" in variant else (variant, "", "None")
    own = {"model_variant": name, "quantization_strategy": strategy, "learning_rate": rate}
    own |= {"state": "finished", "seed": 0, SCORE: score, **more}
    return {key: value for key, value in own.items() if value is not None}


def study_of(*runs: dict[str, Any]) -> Study:
    """As `StudyReader` makes it: runs of inference alone left out."""
    rows = [
        Row(
            f"r{i}",
            given.pop("state", ""),
            given,
            tags=frozenset(filter(None, given.pop("tags", "").split(", "))),
        )
        for i, given in enumerate(runs)
    ]
    return examine([row for row in rows if row.text("job_type") != "inference"])


def study() -> Study:
    return study_of(
        run("Full LoRA", 1e-4, 0.7, seed=0),
        run("Full LoRA", 1e-4, 0.9, seed=1),
        run("Full LoRA", 1e-3, 0.79),
        run("Full LoRA", 1e-2, 0.99, tags="pruned"),
        run("QLoRA int4", 1e-3, 0.6, **{"inference/model_size_gb": 2.0}),
        run("QLoRA int4", 1e-4, 0.5),
        run("QLoRA int4", 1e-5, 0.95, state="running"),
        run("QLoRA int4", 1e-6, 0.97, **{"stopped/rung": 1}),
        run("QLoRA int4", 1e-3, 0.99, job_type="inference"),
    )


def test_a_variant_stands_for_its_best_mean_over_seeds_among_complete_runs() -> None:
    (found,) = compare(study())
    full, qlora = found.lines
    assert (full.variant, full.tuned, full.seeds) == ("Full LoRA", "learning_rate 0.0001", 2)
    assert (full.complete, full.total) == (3, 4)
    assert full.score is not None
    assert abs(full.score - 0.8) < 1e-12
    assert (qlora.tuned, qlora.score, qlora.complete, qlora.total) == (
        "learning_rate 0.001",
        0.6,
        2,
        4,
    )
    assert qlora.retention.value is not None
    assert abs(qlora.retention.value - 0.75) < 1e-12


def test_texts_leave_out_unknown_costs() -> None:
    (found,) = comparison_payload(study())
    assert found["headings"] == [
        "Complete runs",
        "Best at",
        "Final validation F1",
        "Retention",
        "Model size (GB)",
    ]
    kept = f"75.0 % ({ONE_SEED})"
    assert found["lines"][1]["texts"] == ["2 of 4", "learning_rate 0.001", "0.600", kept, "2"]
    assert found["lines"][0]["texts"][1] == "learning_rate 0.0001, 2 seeds"


def test_runs_that_differ_in_data_or_length_are_never_put_into_one_ratio() -> None:
    rows = study_of(
        run("Full LoRA", 1e-4, 0.8, epochs=3),
        run("QLoRA int4", 1e-4, 0.4, epochs=1),
        run("QLoRA int8", 1e-4, 0.4, epochs=3, dataset="moved"),
    )
    assert [len(found.lines) for found in compare(rows)] == [1, 1, 1]
    assert [found.lines[0].retention.value for found in compare(rows)] == [1.0, None, None]
    same = {"data/digest": "d"}
    moved = study_of(
        run("Full LoRA", 1e-4, 0.8, dataset="here", **same),
        run("QLoRA int8", 1e-4, 0.4, dataset="there", **same),
    )
    (found,) = compare(moved)
    assert found.lines[1].retention.value == 0.5


def test_latencies_of_two_gpus_are_never_averaged_and_the_other_is_named() -> None:
    latency = "inference/avg_latency_ms_per_sample"

    def on(gpu: str, value: float) -> dict[str, Any]:
        return {latency: value, "inference/gpu": gpu, "inference/model_size_gb": 2.0}

    rows = study_of(
        run("Full LoRA", 1e-3, 0.8, **on("H100", 10.0)),
        run("Full LoRA", 1e-3, 0.8, seed=1, **on("A100", 30.0)),
        run("QLoRA int8", 1e-3, 0.7, **on("H100", 16.0)),
        run("QLoRA int8", 1e-4, 0.1, **on("H100", 16.0)),
        run("QLoRA int4", 1e-3, 0.6, **on("A100", 20.0)),
    )
    (found,) = comparison_payload(rows)
    assert found["gpu"] == found["gpus"][latency] == "H100"
    place = found["headings"].index("Latency (ms/sample)")
    texts = {line["variant"]: line["texts"] for line in found["lines"]}
    assert {variant: line[place] for variant, line in texts.items()} == {
        "Full LoRA": "10",
        "QLoRA int8": "16",
        "QLoRA int4": "20 (on A100)",
    }
    assert texts["QLoRA int4"][found["headings"].index("Model size (GB)")] == "2"


def test_the_scatter_knows_which_runs_stand_on_a_front_as_the_report_does() -> None:
    latency, length = "inference/avg_latency_ms_per_sample", "inference/tokens_out"

    def hardware(gpu: str, tokens: float) -> dict[str, Any]:
        return {latency: 10.0, length: tokens, "inference/gpu": gpu, "inference/model_size_gb": 2.0}

    rows = [
        run("Full LoRA", 1e-3, 0.8, **hardware("H100", 20.0)),
        run("Full LoRA", 1e-4, 0.8, **hardware("H100", 21.0)),
        run("QLoRA int8", 1e-3, 0.7, **hardware("A100", 20.0)),
        run("QLoRA int4", 1e-3, 0.6, **hardware("H100", 2.0)),
        run("QLoRA int4", 1e-4, 0.9, tags="diverged", **hardware("H100", 20.0)),
        run("QLoRA int4", 1e-4, 0.9, max_length=64, **hardware("H100", 20.0)),
    ]
    largest, small = comparison_payload(study_of(*rows))
    assert largest["runs"] == ("r0", "r1", "r2", "r3")
    assert largest["selected"] == ("r1", "r3", "r2")  # Full LoRA's lower of two equal rates
    assert small["runs"] == ("r5",)
    assert set(largest["unlike"][latency]) == {"r2", "r3"}
    assert "inference/model_size_gb" not in largest["unlike"]


def test_without_variants_there_is_no_comparison(lab: Lab) -> None:
    assert compare(study_of({"x": 1})) == ()
    lab.init("r")
    assert 'aria-labelledby="variants-title" hidden' in see(lab, "/local/p")


def test_a_variant_without_a_complete_run_has_no_score_and_no_retention() -> None:
    (found,) = compare(study_of(run("Full LoRA", 1e-4, None), run("QLoRA int4", 1e-4, 0.4)))
    assert [(line.score, line.retention.value) for line in found.lines] == [
        (None, None),
        (0.4, None),
    ]


@pytest.mark.parametrize(
    ("state", "tags", "summary", "shown"),
    [
        ("finished", [], {}, "finished"),
        ("finished", ["diverged"], {}, "diverged"),
        ("finished", ["invalid"], {}, "invalid"),
        ("finished", ["pruned"], {}, "pruned"),
        ("finished", [], {"stopped/rung": 2}, "pruned"),
        ("running", [], {"stopped/rung": 2}, "running"),
        ("pending", [], {}, "pending"),
        ("crashed", [], {}, "crashed"),
    ],
)
def test_only_complete_runs_are_called_finished(
    state: str, tags: list[str], summary: dict[str, Any], shown: str
) -> None:
    """The page's front and its thick curves take runs by this word."""
    fields: dict[str, Any] = dict.fromkeys(Run.__dataclass_fields__)
    fields |= {"state": state, "tags": json.dumps(tags), "summary": json.dumps(summary)}
    assert shown_state(Run(**fields)) == shown


def test_why_flops_are_missing_stands_below_the_variants() -> None:
    reason = {"train/flops_left_out": "experts"}
    (found,) = comparison_payload(study_of(run("Full LoRA", 1e-4, 0.7, **reason)))
    assert found["flops"] == "FLOPs of 1 run are left out: experts."
    assert not comparison_payload(study())[0]["flops"]
