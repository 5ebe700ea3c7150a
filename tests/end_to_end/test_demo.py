"""The newcomer's command on a small sweep, cut off from every network but loopback.

Real server, real `wandb sweep`, real `wandb agent`, real train.py with the real libraries.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
    baseline = json.loads((demo / "baseline.json").read_text())
    scores = [float(row["final/validation_f1_score"]) for row in rows_of(demo)]
    assert max(scores) > baseline["final/validation_f1_score"]


def test_both_axes_of_the_pareto_scatter_are_filled(demo: Path) -> None:
    for row in rows_of(demo):
        assert float(row["inference/avg_latency_ms_per_sample"]) > 0
        assert float(row["inference/flops_per_query_gflops"]) > 0
        assert not row.get("inference/peak_vram_gb")  # absent on CPU
    page = (demo / "report.html").read_text()
    assert "LoRA+PTQ" in page
    assert 'src="http' not in page  # opens without internet


def test_progress_and_one_table_are_shown(demo: Path) -> None:
    shown = (demo / "shown.txt").read_text()
    assert "finished  Full LoRA lr=0.005" in shown
    assert "LongRefiner demo: one row per run" in shown


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
