"""Hyperband: which running runs are stopped, from the curves of all."""

from agent.config.early_termination import Hyperband
from agent.server.store.early_stopping import hopeless_runs


def test_hyperband_keeps_the_best_share_at_the_last_band_passed() -> None:
    bands = Hyperband(3.0, (2, 4), is_strict=False)
    curves = {
        "best": [1.0, 0.9, 0.8, 0.7],
        "middle": [2.0, 1.9, 1.8],
        "worst": [3.0, 2.9],
        "young": [9.0],
    }
    assert hopeless_runs(curves, bands, "minimize") == {"worst": 2}


def test_strict_hyperband_judges_at_every_band() -> None:
    curves = {"late": [5.0, 5.0, 0.1, 0.1], "a": [1.0, 1.0, 1.0, 1.0], "b": [2.0, 2.0]}
    loose = Hyperband(3.0, (2, 4), is_strict=False)
    strict = Hyperband(3.0, (2, 4), is_strict=True)
    assert "late" not in hopeless_runs(curves, loose, "minimize")
    assert hopeless_runs(curves, strict, "minimize")["late"] == 2
    turned = {name: [-value for value in curve] for name, curve in curves.items()}
    assert hopeless_runs(turned, strict, "maximize")["late"] == 2
