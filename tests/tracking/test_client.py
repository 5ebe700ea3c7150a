"""The W&B client as every module of the project takes it."""

from pathlib import Path

from tests.processes import run_python


def test_a_table_is_logged_without_importing_pandas(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from agent.tracking.client import wandb\n"
        "with wandb.init(project='p') as run:\n"
        "    run.summary.update({'table': wandb.Table(['a'], [['x'], ['y']])})\n"
        "    assert run.summary['table'] is not None\n"
        "sys.exit('pandas' in sys.modules)\n"
    )
    run_python("-c", code, WANDB_MODE="offline", WANDB_DIR=str(tmp_path))
    assert list(tmp_path.rglob("*.table.json"))
