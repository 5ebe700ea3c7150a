"""A store that is full for a while costs a run time and nothing else, with the real train.py."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from agent.demo.data import write_data
from tests.end_to_end.slurm_cluster import wait_until

REPOSITORY = Path(__file__).parents[2]
FULL_S = 8


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 40 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=40m", "none", str(place)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.slow
def test_a_store_and_journal_that_are_full_for_a_while_cost_a_run_nothing_but_time(
    small_disk: Path, tmp_path: Path
) -> None:
    write_data(tmp_path / "data")
    sweep = yaml.safe_load((REPOSITORY / "sweeps/demo/full_lora.yaml").read_text())
    point = {name: spec.get("value") for name, spec in sweep["parameters"].items()}
    dataset = str(point["dataset"]).replace("outputs/demo/data", str(tmp_path / "data"))
    point |= {"quantization_strategy": "None", "learning_rate": 0.002, "epochs": 3}
    point |= {"dataset": dataset, "store": str(small_disk), "eval_examples": 8, "eval_every": 1.0}
    (tmp_path / "point.json").write_text(json.dumps(point))
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path)}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "train.py", "--config", str(tmp_path / "point.json")],
            cwd=REPOSITORY,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(
            lambda: any(small_disk.glob("*/eval-0001")), timeout_s=120, what="the first point"
        )
        fill(small_disk / "filler")
        time.sleep(FULL_S)
        (small_disk / "filler").unlink()
        assert process.wait(timeout=180) == 0, (tmp_path / "log").read_text()
    finally:
        process.kill()
        process.wait()
    assert len(list(small_disk.glob("*/eval-*"))) == 3
    assert "waiting for the site: " in (tmp_path / "log").read_text()


def fill(path: Path) -> None:
    """Until nothing more fits."""
    try:
        with path.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
    except OSError:
        return
