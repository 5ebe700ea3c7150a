"""A report made from runs that the real client logged to the real embedded server."""

import re
from typing import Any

import pytest

from agent.server.process import running_server
from tests.end_to_end.server_client import client_of

LOG = """
import json, pathlib, wandb
CELLS = [("Full LoRA", "None", 1.0), ("QLoRA", "int4", 0.5)]
for variant, strategy, score in CELLS:
    config = {"model_variant": variant, "quantization_strategy": strategy, "learning_rate": 1e-3,
              "seed": 0, "epochs": 2, "dataset": "d.json", "tuned": ["learning_rate"]}
    with wandb.init(project="study", job_type="training", name=variant, config=config) as run:
        for epoch in (1, 2):
            run.log({"train/loss": 1.0, "epoch": epoch - 0.5}, step=10 * epoch - 5)
            run.log({"epoch": float(epoch), "validation/f1_score": score * epoch / 2},
                    step=10 * epoch)
        rows = [{"example_id": str(i), "score": score * (i % 2), "prompt_hash": "h"}
                for i in range(200)]
        path = pathlib.Path("predictions.jsonl")
        path.write_text("\\n".join(map(json.dumps, rows)))
        artifact = wandb.Artifact("predictions-" + strategy, type="predictions")
        artifact.add_file(str(path))
        run.log_artifact(artifact)
        run.summary.update({"final/validation_f1_score": score / 2,
                            "inference/model_size_gb": 2 * score,
                            "validation/predictions": wandb.Table(["a"], [[1]])})
with wandb.init(project="study", job_type="inference", name="benchmark") as run:
    run.summary["inference/model_size_gb"] = 9.0
"""

READ = """
import base64, os, sys, urllib.request
from agent.errors import TrackingError
from agent.report import workspace, workspace_views, writing
from agent.results import csv_table, study
from agent.tracking import project_runs

def said(call):
    try:
        call()
    except TrackingError as error:
        return str(error)
    return ""

def page(path):
    key = base64.b64encode(b"api:" + os.environ["WANDB_API_KEY"].encode()).decode()
    address = os.environ["WANDB_BASE_URL"] + path
    request = urllib.request.Request(address, headers={"Authorization": f"Basic {key}"})
    return json.load(urllib.request.urlopen(request))

rows = project_runs.read_projects(["study"])
answer = {
    "page": page("/local/study/data")["comparisons"],
    "report": writing.markdown_report(study.examine(rows)),
    "curves": csv_table.write_curves(rows),
    "unknown": said(lambda: project_runs.read_projects(["nothing-here"])),
    "dashboard": said(lambda: workspace_views.save(workspace.specify("view"), "study")),
    "torch": "torch" in sys.modules,
}
"""


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process says that logs runs to the server and reads them back."""
    with running_server(tmp_path_factory.mktemp("server")) as address:
        client = client_of(address, tmp_path_factory.mktemp("client"))
        found: dict[str, Any] = client.python(f"{LOG}\n{READ}")
        return found


def test_retention_and_intervals_come_from_the_server(answer: dict[str, Any]) -> None:
    found = re.search(r"\| QLoRA int4 \| 0.001 \| 1 \| 0.250 \| (50.0 .*?)‡ \|", answer["report"])
    assert found is not None
    low, high = map(float, re.findall(r"\d+\.\d+", found[1])[1:])
    assert 40 < low < 50 < high < 60  # n = 200, one seed
    assert not answer["torch"]


def test_the_project_page_says_the_same_with_the_same_interval(answer: dict[str, Any]) -> None:
    (comparison,) = answer["page"]
    (line,) = [one for one in comparison["lines"] if one["variant"] == "QLoRA int4"]
    (kept,) = re.findall(r"50.0 % \[.*?\]", line["texts"][3])
    reported = kept.replace(" %", "").replace("[", "\\[").replace("]", "\\]")
    assert f"| {reported}‡ |" in answer["report"]
    assert "one seed: training noise not included" in line["texts"][3]
    assert f"- {line['sentence']}." in answer["report"].replace("\\", "")
    assert comparison["headline"] in answer["report"]


def test_curves_come_from_the_server_and_inference_runs_stay_out(answer: dict[str, Any]) -> None:
    assert "benchmark" not in answer["report"]
    curves = answer["curves"].splitlines()
    assert len(curves) == 1 + 2 * 2
    assert curves[1].split(",")[1:3] == ["1.0", "0.5"]


def test_an_unknown_project_is_one_line(answer: dict[str, Any]) -> None:
    assert answer["unknown"].startswith("project 'nothing-here' cannot be read")
    assert "\n" not in answer["unknown"]


def test_a_dashboard_that_the_server_cannot_hold_is_one_line(answer: dict[str, Any]) -> None:
    assert answer["dashboard"].startswith("W&B refused the dashboard of")
    assert answer["dashboard"].endswith("the embedded server has its own pages")
    assert "\n" not in answer["dashboard"]
