"""A run that finds its points and scores in the store is light: no torch, little CPU."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.processes import run_python
from tests.training import lab

pytestmark = pytest.mark.xdist_group("train")
ROOT = Path(__file__).resolve().parents[2]
OFFLINE = {"WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}
HEAVY = ("torch", "transformers", "peft", "bitsandbytes")
# train.py as the agent starts it, and what it had imported and used at its end.
WATCHED = """
import json, resource, runpy, sys
sys.argv = ["train.py", *sys.argv[2:]]
try:
    runpy.run_path("train.py", run_name="__main__")
except SystemExit as end:
    status = end.code
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
seconds = sum(u.ru_utime + u.ru_stime for u in used)
found = {"status": status, "modules": sorted(sys.modules), "seconds": seconds}
open(OUT, "w").write(json.dumps(found))
"""


def run_point(tmp_path: Path, **values: object) -> dict[str, Any]:
    """Run the grid point in a fresh process; its status, modules and CPU seconds."""
    config = lab.make_config(tmp_path, **values)
    point = tmp_path / "point.json"
    fields = config.model_dump(mode="json", exclude_defaults=True)
    point.write_text(json.dumps(fields))
    out = tmp_path / "found.json"
    code = f"OUT = {str(out)!r}\n{WATCHED}"
    env = {**os.environ, "WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path)}
    run_python("-c", code, "-", "--config", str(point), env=env, OMP_NUM_THREADS="1")
    found: dict[str, Any] = json.loads(out.read_text())
    assert found["status"] == 0
    return found


def test_a_run_whose_results_lie_in_the_store_imports_nothing_heavy(tmp_path: Path) -> None:
    first = run_point(tmp_path)
    assert set(HEAVY) <= set(first["modules"])
    again = run_point(tmp_path)
    assert not set(HEAVY) & set(again["modules"])
