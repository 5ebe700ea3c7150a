"""The demo's view of its runs."""

import os
from unittest.mock import patch

import pytest

from agent.demo.results import Watcher
from agent.tracking import client


def test_a_callers_wandb_service_is_not_asked_for_the_demos_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WANDB_SERVICE", "3-1-unix-/of/another/process")
    monkeypatch.setenv("WANDB_BASE_URL", "https://elsewhere.example")
    monkeypatch.setenv("WANDB_PROJECT", "elsewhere")
    seen: dict[str, str] = {}
    monkeypatch.setattr(client, "open_api", lambda: seen.update(os.environ))

    with patch.dict(os.environ):
        Watcher({"WANDB_BASE_URL": "http://127.0.0.1:1", "WANDB_API_KEY": "k"}, ["e/p/s"])

    ours = {name: value for name, value in seen.items() if name.startswith("WANDB_")}
    assert ours == {"WANDB_BASE_URL": "http://127.0.0.1:1", "WANDB_API_KEY": "k"}
