"""`sweep-agent rerun RUN`: the same point again, from the code that ran it, saying what differs."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from agent import extensions
from agent.cluster.options import ACCESS
from agent.cluster.snapshot import (
    Snapshot,
    code_variables,
    describe,
    differences,
    read_manifest,
)
from agent.cluster.submit.array import access_of
from agent.cluster.submit.option_flags import add_option_arguments, options_of
from agent.config.run_config import RunConfig
from agent.errors import ClusterError
from agent.tracking.paths import split_path
from agent.tracking.reader import Reader, RunFacts

# In the run's config, written by tracking.
SNAPSHOT_KEY, EXTENSIONS_KEY = "code/snapshot", "code/extensions"


def add_rerun_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="ENTITY/PROJECT/RUN, or its page's address")
    parser.add_argument("--dry-run", action="store_true", help="only list what differs today")
    parser.add_argument(
        "--code", type=Path, help="the snapshot, when it lies elsewhere than the run recorded"
    )
    add_option_arguments(parser, ACCESS)


def run_rerun(args: argparse.Namespace) -> int:
    options = options_of(args, project_dir=str(Path.cwd()))
    access = access_of(options)
    reader = Reader(access)
    path = reader.full_path(args.run)
    run = reader.run(path)
    code = args.code or _recorded_code(run, path)
    snapshot = read_manifest(code)
    if snapshot is None:
        raise ClusterError(
            f"the code of {path} is gone: {code} is not a snapshot; name another with --code, "
            f"or check out commit {run.config.get('code/commit', 'unknown')}"
        )
    for line in _report(snapshot, run):
        print(line)
    if args.dry_run:
        return 0
    point = {name: value for name, value in run.config.items() if name in RunConfig.model_fields}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(point, file)
        file.flush()
        environment = {
            **access.environment(os.environ),
            **code_variables(code),
            extensions.VARIABLE: str(run.config.get(EXTENSIONS_KEY, "")),
            "PYTHONPATH": str(code),
            "WANDB_PROJECT": split_path(path)[1],
        }
        words = [sys.executable, "train.py", "--config", file.name]
        return subprocess.run(words, cwd=code, env=environment, check=False).returncode


def _recorded_code(run: RunFacts, path: str) -> Path:
    recorded = run.config.get(SNAPSHOT_KEY)
    if not recorded:
        raise ClusterError(f"{path} has recorded no snapshot: it was not started by submit")
    return Path(str(recorded))


def _report(snapshot: Snapshot, run: RunFacts) -> list[str]:
    """The code that will run, and what a run made today would not share with it."""
    lines = [f"{run.run_id} ran commit {snapshot.commit[:12]}, snapshot {snapshot.name}"]
    try:
        today = describe(Path.cwd())
    except ClusterError as error:
        return [*lines, f"  today's tree cannot be compared: {error}"]
    found = differences(snapshot, today)
    return [*lines, *(f"  differs today: {text}" for text in found or ["nothing"])]
