"""A metric of one's own: the share of answers of at most five tokens, and its report column."""

from collections.abc import Sequence

from agent.evaluation.validation import METRICS, Prediction
from agent.results import columns


def brevity(predictions: Sequence[Prediction]) -> float:
    return sum(p.tokens_out <= 5 for p in predictions) / len(predictions)


METRICS["brevity"] = brevity
columns.COLUMNS += (columns.Column("final/brevity", "Brevity", "higher", "score"),)
