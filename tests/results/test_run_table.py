import json
from dataclasses import replace

import pytest

from agent.errors import ReportError
from agent.results import run_table
from tests.results.known_table import pruned, run

FORMS = ((0.02, "none"), (0.01, "nf4"))


def test_a_pruned_run_says_where_it_stopped() -> None:
    assert pruned("full", 1e-3, ((1.0, 0.1),)).stopped_at == "rung 1, epoch 1"
    assert run("full", 1e-3, 0.5).stopped_at == ""


def test_a_run_stopped_by_hand_is_not_called_pruned() -> None:
    row = run("full", 1e-3, None, state="killed", stopped__rung=1, stopped__reason="stop")
    assert not row.is_pruned
    assert not row.is_complete


def test_without_a_history_the_summary_gives_the_known_points() -> None:
    row = run("full", 1e-3, 0.5, best__epoch=2.0, best__validation_f1_score=0.6)
    assert row.curve() == ((2.0, 0.6), (3.0, 0.5))
    assert row.score_at(2.0) == 0.6
    assert row.score_at(1.0) is None


def test_a_diverged_run_is_not_complete() -> None:
    row = replace(run("full", 1e-3, 0.5), tags=frozenset({"diverged"}))
    assert (row.is_complete, row.ending) == (False, "diverged")


def test_nan_is_no_number() -> None:
    assert run("full", 1e-3, float("nan")).number("final/validation_f1_score") is None


def test_predictions_give_scores_and_prompt_hashes() -> None:
    lines = [
        json.dumps({"example_id": "7", "dataset": "nq", "score": 1, "prompt_hash": "p"}),
        "",
        json.dumps({"example_id": "8", "score": 0.5}),
    ]
    found = run_table.parse_predictions(lines)
    assert (found.scores, found.prompts) == ({"nq/7": 1.0, "8": 0.5}, {"nq/7": "p"})


def test_a_bad_prediction_names_its_line() -> None:
    with pytest.raises(ReportError, match="line 1: needs example_id and a score"):
        run_table.parse_predictions(['{"example_id": "1"}'])


def test_the_base_row_takes_flat_and_nested_keys() -> None:
    text = json.dumps({"validation/f1_score": 0.02, "inference": {"model_size_gb": 2.0}})
    (row,) = run_table.base_rows(text)
    assert row.number("final/validation_f1_score") == 0.02
    assert row.number("inference/model_size_gb") == 2.0


def test_several_forms_of_the_base_are_a_list() -> None:
    text = json.dumps([{"validation/f1_score": f, "quantization_method": m} for f, m in FORMS])
    found = [(r.number("final/validation_f1_score"), r.values) for r in run_table.base_rows(text)]
    assert [(score, values["quantization_method"]) for score, values in found] == list(FORMS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "no number under final/validation_f1_score"),
        ("[]", "must be a JSON object of metric keys"),
        ("[1]", "must be a JSON object of metric keys"),
        ("no", "is not JSON"),
    ],
)
def test_what_is_no_base_with_a_score_is_refused(text: str, message: str) -> None:
    with pytest.raises(ReportError, match=message):
        run_table.base_rows(text)
