"""Score chosen runs on the test split, which nothing has looked at before.

    python -m agent.programs.test_split_scores ENTITY/PROJECT/RUN ENTITY/PROJECT/RUN@0.5 …

RUN@EPOCH is the evaluation point at that epoch; else the last one is scored. Nothing is measured
here, so one process takes all runs.

Once: a run that has test scores is refused, because choosing again after having seen them would
turn the test split into validation data. `--again` is counted in `test/times_scored`.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agent import extensions
from agent.errors import ConfigError, SweepAgentError
from agent.log_noise import quieten_libraries
from agent.programs.benchmark import adapter_of, store_of
from agent.tracking import finished_runs
from agent.tracking import run as tracking
from agent.tracking.client import open_api
from agent.tracking.finished_runs import FinishedRun, split_epoch

if TYPE_CHECKING:
    from agent.evaluation.validation import Scores

PREDICTIONS = "test_predictions.jsonl"


def main(words: Sequence[str]) -> int:
    quieten_libraries()
    parser = argparse.ArgumentParser(prog="agent.programs.test_split_scores", allow_abbrev=False)
    parser.add_argument("runs", metavar="RUN", nargs="+")
    parser.add_argument("--store")
    parser.add_argument("--again", action="store_true")
    args = parser.parse_args(list(words))
    failed = 0
    for number, word in enumerate(args.runs, start=1):
        print(f"[{number}/{len(args.runs)}] {word}", flush=True)
        try:
            extensions.load()
            name, epoch = split_epoch(word)
            run = finished_runs.find(open_api(), name)
            values = score_once(run, store=args.store, again=args.again, epoch=epoch)
        except SweepAgentError as error:
            print(f"evaluate: {error}", file=sys.stderr)
            failed += 1
            continue
        score = values["test/f1_score"]
        print(f"{run.name}: test F1 {score:.3f}, logged on {run.path}", flush=True)
    return 2 if failed else 0


def refuse_second_look(run: FinishedRun) -> None:
    """ConfigError when the run has been scored on the test split."""
    if run.summary.get("test/f1_score") is not None:
        problem = (
            f"{run.path} was scored on the test split before; choosing after a second look would "
            "make it validation data, so it takes --again"
        )
        raise ConfigError([problem], where="the runs to test")


def score_once(
    run: FinishedRun, *, store: str | None = None, again: bool = False, epoch: float | None = None
) -> dict[str, float]:
    """Score the run's last adapter as deployed, or that of `epoch`, and put the scores on it."""
    if not again:
        refuse_second_look(run)
    scores, digest = score(run, store=store, epoch=epoch)
    named = scores.metrics()
    values = {
        **{f"test/{name}": value for name, value in named.items()},
        "test/examples": float(len(scores.predictions)),
        "test/times_scored": float(run.summary.get("test/times_scored") or 0) + 1,
        **({} if epoch is None else {"test/epoch": epoch}),
    }
    with tempfile.TemporaryDirectory(prefix="sweep-agent-") as folder:
        file = write_predictions(scores, Path(folder))
        name = f"test-predictions-{tracking.artifact_name(run.config)}"
        finished_runs.complete_run(run, {**values, "test/digest": digest}, name, [file])
    return values


def score(
    run: FinishedRun, *, store: str | None = None, epoch: float | None = None
) -> tuple["Scores", str]:
    """Scores on the test split, and the digest of what was asked."""
    from agent.evaluation import served_model, validation
    from agent.training import base_model, data

    config = run.config
    examples = data.load_test(config)
    root = store_of(config, store)
    wanted = str(run.summary.get("base/digest", ""))
    path = served_model.locate_base(config, wanted, root / "digests")
    digest = validation.digest_of_examples(config, path, examples)
    with tempfile.TemporaryDirectory(prefix="sweep-agent-") as folder:
        adapter = adapter_of(run, root, Path(folder), epoch)
        loaded = base_model.load(
            config, path, config.variant.training_precision, base_model.choose_device(config)
        )
        scores = validation.score_adapter(
            config, loaded, adapter, examples, calibration=data.load(config).train
        )
    return scores, digest


def write_predictions(scores: "Scores", folder: Path) -> Path:
    from agent.evaluation import validation

    validation.write_scores(folder, scores)
    return (folder / validation.PREDICTIONS).rename(folder / PREDICTIONS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
