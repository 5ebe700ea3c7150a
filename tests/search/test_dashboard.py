"""optuna-dashboard opens a journal of ours: every study, with its runs, curves and reasons."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from optuna.storages.journal import JournalFileBackend, JournalStorage

from tests.search.trial_lab import opened

dashboard = pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed")


def get(app: Any, path: str) -> Any:
    """One request to the WSGI app, without a server."""
    status: list[str] = []
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
    }
    body = b"".join(app(environ, lambda line, headers, error=None: status.append(line)))
    assert status[0].startswith("200"), (status, body)
    return json.loads(body) if path.startswith("/api") else body


def test_optunas_dashboard_loads_the_studies_and_their_trials(tmp_path: Path) -> None:
    journal = tmp_path / "journal.log"
    for rate, score in ((1e-3, 0.8), (1e-2, 0.1)):
        with opened(journal, f"run-{rate:g}", rate, peers=2) as trial:
            for rung in (1, 2, 3):
                scores = {f"e{i}": score + 0.01 * i for i in range(20)}
                if trial.report(rung, scores).prune:
                    break
    storage = JournalStorage(JournalFileBackend(str(journal)))  # as its command line opens it
    app = dashboard.wsgi(storage)
    (study,) = get(app, "/api/studies")["study_summaries"]
    assert study["study_name"].startswith("me/project | Full LoRA | ")
    detail = get(app, f"/api/studies/{study['study_id']}")
    complete, pruned = detail["trials"]
    assert (complete["state"], pruned["state"]) == ("Complete", "Pruned")
    assert complete["params"][0]["name"] == "learning_rate"
    assert [point["step"] for point in complete["intermediate_values"]] == [1, 2, 3]
    reasons = {item["key"]: item["value"] for item in pruned["user_attrs"]}
    assert "below learning_rate=0.001" in reasons["pruned"]
    assert b"<html" in get(app, "/dashboard").lower()
