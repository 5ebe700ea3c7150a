"""The newcomer's command on a small sweep, cut off from every network but loopback.

Real server, real `wandb sweep`, real `wandb agent`, real train.py with the real libraries.
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from agent.results.columns import COLUMNS
from agent.results.presentation import LATENCY, MODEL_SIZE, QUERY_FLOPS
from agent.server.process import running_server
from agent.server_note import login_header

pytestmark = pytest.mark.xdist_group("demo")  # one demo for all
ROOT = Path(__file__).resolve().parents[2]
SWEEP = """
name: small
program: train.py
method: grid
metric: {{name: validation/f1_score, goal: maximize}}
command: ["${{env}}", "${{interpreter}}", "${{program}}", "--config", "${{args_json_file}}"]
parameters:
  model_variant: {{value: {variant}}}
  quantization_strategy: {{values: {strategies}}}
  base_model: {{value: agent/demo/assets/base_model}}
  dataset: {{value: {out}/data}}
  store: {{value: {out}/store}}
  validation_fraction: {{value: 0.05}}
  test_fraction: {{value: 0.75}}
  max_length: {{value: 128}}
  epochs: {{value: 3}}
  batch_size: {{value: 32}}
  eval_every: {{value: 0.5}}
  eval_batch_size: {{value: 64}}
  max_new_tokens: {{value: 32}}
  log_every_steps: {{value: 1}}
  learning_rate: {{value: 5e-3}}
"""


def can_leave_the_network() -> bool:
    if not (shutil.which("unshare") and shutil.which("ip")):
        return False
    probe = ["unshare", "-rn", "ip", "link", "set", "lo", "up"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output directory of a demo of two sweeps, whose cells share one training."""
    out = tmp_path_factory.mktemp("demo")
    sweeps = tmp_path_factory.mktemp("sweeps")
    cells = {"full_lora": ("Full LoRA", "[None]"), "lora_ptq": ("LoRA+PTQ", "[int4]")}
    for name, (variant, strategies) in cells.items():
        text = SWEEP.format(variant=variant, strategies=strategies, out=out)
        (sweeps / f"{name}.yaml").write_text(text)
    command = [sys.executable, "-m", "agent.cli", "demo", "--agents", "1", "--queries", "4"]
    command += ["--out", str(out), "--sweeps", str(sweeps)]
    if can_leave_the_network():
        inner = 'ip link set lo up && exec "$@"'
        command = ["unshare", "-rn", "sh", "-c", inner, "sh", *command]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False
    )
    logs = "".join(path.read_text()[-1500:] for path in sorted(out.glob("logs/*.log")))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    (out / "shown.txt").write_text(done.stdout)
    return out


def rows_of(demo: Path) -> list[dict[str, str]]:
    with (demo / "results.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_run_is_finished_and_carries_the_studys_metrics(demo: Path) -> None:
    rows = rows_of(demo)
    assert [row["state"] for row in rows] == ["finished", "finished"]
    for key in (
        "train/loss",
        "epoch",
        "step",
        "train/epoch_time_min",
        "train/throughput_samples_per_sec",
        "validation/accuracy",
        "validation/f1_score",
        "train/total_training_flops_tflops",
        "final/validation_accuracy",
        "final/validation_f1_score",
        "final/avg_f1",
        "inference/model_size_gb",
        "learning_rate",
        "run_id",
    ):
        assert all(row[key] != "" for row in rows), key
    assert all(not row.get("train/peak_vram_gb") for row in rows)  # absent on CPU, never 0


def test_the_cells_share_one_training_and_differ_in_size(demo: Path) -> None:
    full, ptq = rows_of(demo)
    assert (full["model_variant"], ptq["model_variant"]) == ("Full LoRA", "LoRA+PTQ")
    assert full["training/key"] == ptq["training/key"]
    assert ptq["train/reused_from"] == full["run_id"]
    assert full["train/reused_from"] == ""
    same = "train/total_training_flops_tflops"
    assert full[same] == ptq[same]
    assert float(ptq["inference/model_size_gb"]) < 0.6 * float(full["inference/model_size_gb"])


def test_the_trained_model_beats_the_untouched_base(demo: Path) -> None:
    bases = json.loads((demo / "baseline.json").read_text())
    assert [base["quantization_method"] for base in bases] == ["none", "nf4", "llm_int8"]
    scores = [float(row["final/validation_f1_score"]) for row in rows_of(demo)]
    assert max(scores) > max(base["final/validation_f1_score"] for base in bases)
    sizes = [base["inference/model_size_gb"] for base in bases]
    assert sizes[0] > sizes[2] > sizes[1]


VRAM = ["train/peak_vram_gb", "inference/peak_vram_gb"]


def test_no_column_is_missing_but_the_memory_of_a_gpu(demo: Path) -> None:
    with (demo / "table.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    runs = [row for row in rows if row["state"] == "finished"]
    bases = [row for row in rows if row["state"] == "baseline"]
    assert (len(runs), len(bases)) == (2, 3)
    for column in COLUMNS:
        of_bases = bases if column.group in ("score", "inference") else []
        filled = [row.get(column.key, "") != "" for row in [*runs, *of_bases]]
        assert filled == [column.key not in VRAM] * len(filled), column.key
    report = (demo / "report.md").read_text()
    (absent,) = (line for line in report.splitlines() if "Not recorded by any run" in line)
    assert [key for column in COLUMNS if f"`{(key := column.key)}`" in absent] == VRAM


def test_the_report_says_what_each_variant_keeps_of_the_test_score(demo: Path) -> None:
    report = (demo / "report.md").read_text()
    table = report[report.index("### Performance retention") :].split("###")[1]
    assert "Test F1" in table
    lines = [line.split("|") for line in table.splitlines() if line.startswith("| ")][2:]
    assert [line[1].strip() for line in lines] == [
        "Full LoRA",
        "LoRA+PTQ int4",
        "Untouched base",
        "Untouched base int4",
        "Untouched base int8",
    ]
    assert lines[0][5].strip() == lines[0][6].strip() == "100"
    assert re.fullmatch(r"\d+\.\d \\\[.*\\\]‡", lines[1][5].strip())  # with its interval
    assert "no difference between the variants is established" in report.splitlines()[2]
    page = (demo / "report.html").read_text()
    assert 'src="http' not in page  # opens without internet


def test_the_pages_have_both_axes_and_the_retention_of_every_variant(demo: Path) -> None:
    """Read from the server's data as the demo leaves it."""
    with running_server(demo / "server") as server:
        address = f"{server.base_url}/{server.entity}/sweep-agent-demo/data"
        request = urllib.request.Request(address, headers=login_header(server.env["WANDB_API_KEY"]))
        with urllib.request.urlopen(request, timeout=30) as answer:
            shown = json.load(answer)
    (comparison,) = shown["comparisons"]
    retention = comparison["headings"].index("Retention")
    kept = {line["variant"]: line["texts"][retention] for line in comparison["lines"]}
    assert list(kept) == ["Full LoRA", "LoRA+PTQ int4"]
    assert kept["Full LoRA"] == "100.0 %"
    assert re.fullmatch(r"\d+\.\d % \[.*\] \(one seed: .*\)", kept["LoRA+PTQ int4"])
    assert kept["LoRA+PTQ int4"].split(" (")[0].replace(" %", "") in plain_report(demo)
    columns = {column["key"]: column for column in shown["columns"]}
    places = [
        i for i, kind in enumerate(values_of(columns["job_type"], shown)) if kind == "training"
    ]
    assert len(places) == 2
    for key in ("final/validation_f1_score", LATENCY, MODEL_SIZE, QUERY_FLOPS):
        values = values_of(columns[key], shown)
        assert all(values[place] > 0 for place in places), key


def plain_report(demo: Path) -> str:
    return (demo / "report.md").read_text().replace("\\", "")


def values_of(column: dict[str, Any], shown: dict[str, Any]) -> list[Any]:
    """A column's values, also where they are the same for all."""
    return column.get("values") or [column["constant"]] * len(shown["ids"])


def test_progress_and_one_table_are_shown(demo: Path) -> None:
    shown = (demo / "shown.txt").read_text()
    assert "finished  Full LoRA lr=0.005" in shown
    assert "[ 2 done] measured  LoRA+PTQ int4 lr=0.005" in shown  # by `benchmark --all`, in turn
    assert "The demo, one row per run" in shown


def test_the_key_lies_in_the_servers_own_files_only(demo: Path) -> None:
    note = json.loads((demo / "server" / "server.json").read_text())
    key = next(value for name, value in note.items() if "key" in name)
    holders = [
        path.relative_to(demo)
        for path in demo.rglob("*")
        if path.is_file() and key.encode() in path.read_bytes()
    ]
    assert [path for path in holders if path.parts[0] != "server"] == []
    assert (demo / "server" / "server.json").stat().st_mode & 0o077 == 0


def test_nothing_is_left_running(demo: Path) -> None:
    own = str(demo)
    left = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                words = (process / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if own in words:
                left.append(words)
    assert left == []
