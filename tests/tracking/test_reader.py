"""Sweeps and runs of a server as they are now, however often they were read before."""

import os
from pathlib import Path

import pytest

from agent.cluster.submit.submission import cancel_sweep, create_sweep
from agent.errors import TrackingError
from agent.server.process import running_server
from agent.tracking import client
from agent.tracking.endpoint import ServerAccess
from agent.tracking.reader import Reader

SWEEP = "method: grid\nprogram: train.py\nparameters:\n  a: {values: [1, 2, 3]}\n"


def test_a_reader_never_answers_from_what_it_has_read_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`status --watch` and `points_left` ask the same reader again and again."""
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP)
    with running_server(tmp_path / "data") as server:
        environment = {**os.environ, **server.env}
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        sweep, _ = create_sweep(path, environment, entity=server.entity, project="p")
        reader = Reader(ServerAccess(server_data=tmp_path / "data"))
        before = reader.sweep(sweep)
        assert (before.state.lower(), before.expected, before.method) == ("pending", 3, "grid")
        assert cancel_sweep(sweep, environment)
        assert reader.sweep(sweep).state.lower() == "canceled"
        assert reader.find_sweep(f"{server.entity}/p/nowhere") is None


def test_a_server_that_is_down_is_one_line_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    class Down:
        def sweep(self, path: str) -> None:
            raise Exception("the service process is busy")  # as bare as the client's own

    monkeypatch.setattr(client, "open_api", Down)
    with pytest.raises(TrackingError, match="does not answer as needed: the service process"):
        Reader(ServerAccess()).find_sweep("e/p/s")
