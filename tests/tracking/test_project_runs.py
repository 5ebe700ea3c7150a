import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.errors import ReportError, TrackingError
from agent.results import run_table
from agent.tracking import project_runs


class FakeRun:
    """What the public API's Run offers here."""

    def __init__(self, run_id: str, **more: Any) -> None:
        self.id = run_id
        self.name = more.get("name", run_id)
        self.state = more.get("state", "finished")
        self.job_type = more.get("job_type", "training")
        self.tags = more.get("tags", [])
        self.config = more.get("config", {"model_variant": "Full LoRA", "learning_rate": 1e-3})
        self.summary = more.get(
            "summary",
            {"epoch": 2.0, "validation/f1_score": 0.5, "final/validation_f1_score": 0.5},
        )
        self.history = more.get("history", [])
        self.artifacts = more.get("artifacts", [])
        self.uploaded = more.get("uploaded", [])

    def scan_history(self, keys: list[str], use_cache: bool) -> Iterator[Mapping[str, Any]]:
        return iter(row for row in self.history if set(keys) <= set(row))

    def logged_artifacts(self) -> list[Any]:
        return list(self.artifacts)

    def files(self, names: list[str]) -> list[Any]:
        return [file for file in self.uploaded if file.name in names]


class FakeFile:
    def __init__(self, name: str, text: str) -> None:
        self.name, self.text, self.size = name, text, len(text)

    def download(self, root: str, replace: bool = True) -> Any:
        path = Path(root) / self.name
        path.write_text(self.text)
        return SimpleNamespace(name=str(path))


class FakeArtifact:
    def __init__(self, kind: str, name: str, text: str) -> None:
        self.type, self.name, self.text = kind, name, text
        self.manifest = SimpleNamespace(entries={name: object()})

    def download(self, root: str, path_prefix: str, skip_cache: bool) -> str:
        assert path_prefix == self.name
        (Path(root) / self.name).write_text(self.text)
        return root


class FakeApi:
    default_entity = "me"

    def __init__(self, **projects: list[FakeRun]) -> None:
        self.projects = projects
        self.asked: list[str] = []

    def runs(self, path: str, order: str, lazy: bool) -> list[FakeRun]:
        self.asked.append(path)
        name = path.split("/")[1]
        if name not in self.projects:
            raise ValueError("could not find project\nand a long traceback")
        return self.projects[name]


def _predictions(**scores: float) -> str:
    return "\n".join(json.dumps({"example_id": k, "score": v}) for k, v in scores.items())


def test_a_run_becomes_a_row_with_config_summary_and_curve() -> None:
    history = [
        {"epoch": 1.0, "validation/f1_score": 0.1},
        {"epoch": 2.0, "validation/f1_score": 0.3},
        {"epoch": 2.0, "validation/f1_score": 0.5},
        {"train/loss": 1.0},
    ]
    run = FakeRun("a", history=history, tags=["pruned"])
    (row,) = project_runs.read_projects(["demo"], api=FakeApi(demo=[run]))
    assert (row.run_id, row.project, row.is_pruned) == ("a", "demo", True)
    assert row.number("learning_rate") == 1e-3
    assert row.curve() == ((1.0, 0.1), (2.0, 0.5))
    assert row.text("job_type") == "training"


def test_inference_runs_are_left_out() -> None:
    api = FakeApi(demo=[FakeRun("a"), FakeRun("b", job_type="inference")])
    assert [row.run_id for row in project_runs.read_projects(["demo"], api=api)] == ["a"]


def test_the_default_entity_is_used_unless_one_is_named() -> None:
    api = FakeApi(demo=[FakeRun("a")])
    project_runs.read_projects(["demo", "team/demo"], api=api)
    assert api.asked == ["me/demo", "team/demo"]


def test_predictions_come_from_the_newest_artifact_that_holds_them() -> None:
    artifacts = [
        FakeArtifact("predictions", "predictions.jsonl", _predictions(x=0.0)),
        FakeArtifact("predictions", "predictions.jsonl", _predictions(x=1.0)),
        FakeArtifact("model", "adapter.safetensors", ""),
    ]
    api = FakeApi(demo=[FakeRun("a", artifacts=artifacts)])
    (row,) = project_runs.read_projects(["demo"], api=api)
    assert row.scores == {"validation": {"x": 1.0}}


def test_predictions_come_from_run_files_where_no_artifact_has_them() -> None:
    uploaded = [FakeFile("test_predictions.jsonl", _predictions(x=0.25))]
    api = FakeApi(demo=[FakeRun("a", uploaded=uploaded)])
    (row,) = project_runs.read_projects(["demo"], api=api)
    assert row.scores == {"test": {"x": 0.25}}
    (row,) = project_runs.read_projects(["demo"], api=api, with_examples=False)
    assert row.scores == {}


def test_unreadable_predictions_cost_one_interval_not_the_report() -> None:
    warnings: list[str] = []
    runs = [
        FakeRun("a", uploaded=[FakeFile("predictions.jsonl", "no json")]),
        FakeRun("b", uploaded=[FakeFile("predictions.jsonl", _predictions(x=1.0))]),
    ]
    rows = project_runs.read_projects(["demo"], api=FakeApi(demo=runs), warn=warnings.append)
    assert [row.scores for row in rows] == [{}, {"validation": {"x": 1.0}}]
    assert len(warnings) == 1
    assert warnings[0].startswith(
        "predictions of run a cannot be read: run a, line 1: needs example_id"
    )


def test_lists_nested_summaries_and_media_become_plain_values() -> None:
    found = run_table.plain_values(
        {
            "tuned": ["learning_rate", "lora_rank"],
            "pruner_options": {"b": 1, "a": 2},
            "validation/f1_score": {"max": 0.5},
            "table": {"_type": "table-file", "size": 3},
            "_runtime": 3,
            "_wandb": {"x": 1},
            "nothing": None,
        }
    )
    assert found == {
        "tuned": "learning_rate,lora_rank",
        "pruner_options": '{"a": 2, "b": 1}',
        "validation/f1_score.max": 0.5,
    }


def test_an_unknown_project_is_one_line() -> None:
    with pytest.raises(TrackingError, match=r"'nope' cannot be read: could not find project;"):
        project_runs.read_projects(["nope"], api=FakeApi())


def test_an_empty_project_has_nothing_to_report() -> None:
    with pytest.raises(ReportError, match="no runs in 'demo'"):
        project_runs.read_projects(["demo"], api=FakeApi(demo=[]))


@pytest.mark.parametrize("path", ["a/b/c", "/", "a//b"])
def test_a_malformed_project_is_refused(path: str) -> None:
    with pytest.raises(TrackingError, match="write PROJECT or ENTITY/PROJECT"):
        project_runs.read_projects([path], api=FakeApi())


def test_progress_is_shown_run_by_run() -> None:
    seen: list[tuple[int, int]] = []
    api = FakeApi(demo=[FakeRun("a"), FakeRun("b")])
    project_runs.read_projects(["demo"], api=api, progress=lambda d, t: seen.append((d, t)))
    assert seen == [(1, 2), (2, 2)]
