import pytest

from agent.errors import ReportError
from agent.results import columns


def test_every_column_key_stands_once() -> None:
    keys = [column.key for column in columns.COLUMNS]
    assert len(keys) == len(set(keys))


def test_a_column_without_any_value_is_absent_and_named() -> None:
    rows = [{"final/validation_f1_score": 0.5, "train/peak_vram_gb": None}]
    assert [c.key for c in columns.present_in(rows)] == ["final/validation_f1_score"]
    assert "train/peak_vram_gb" in [c.key for c in columns.absent_from(rows)]


def test_scores_per_data_set_become_columns_of_their_own() -> None:
    found = columns.present_in([{"final/f1_hotpotqa": 0.1, "test/f1_score": 0.2}])
    assert [c.title for c in found] == ["Test F1", "F1 on hotpotqa"]


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ReportError, match=r"'inference/latency' is not a column.*avg_latency"):
        columns.find("inference/latency")


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (0.0, "0"), (1234.5, "1234"), (0.000015, "1.50e-05"), (0.0123456, "0.0123")],
)
def test_numbers_are_short_and_missing_ones_blank(value: float | None, text: str) -> None:
    assert columns.format_number(value) == text


def test_scores_keep_three_decimals() -> None:
    assert columns.format_number(0.5, columns.find(columns.SCORE)) == "0.500"
