"""GB are 10^9 bytes under every key, and GiB stand beside them under `_gib`."""

import pytest
from torch import nn

from agent.evaluation.deployments import model_size_gb
from agent.results.metrics import gib
from agent.results.presentation import METRICS


def test_a_model_of_a_billion_bytes_is_one_gb() -> None:
    layer = nn.Linear(500, 500, bias=False)  # 250,000 weights of 4 bytes
    assert model_size_gb(layer) == pytest.approx(250_000 * 4 / 1e9)


def test_gib_is_two_to_the_thirty() -> None:
    assert gib(2**30 / 1e9) == pytest.approx(1.0)
    assert gib(24.0) == pytest.approx(22.35, abs=0.01)
    assert gib(None) is None


def test_every_metric_in_gb_says_so() -> None:
    for metric in METRICS:
        assert (metric.unit == "GB") == metric.key.endswith("_gb"), metric.key
