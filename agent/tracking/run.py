"""The W&B run: what is logged, under which step, and how it ends.

With `finished_runs` and `project_sweeps`, the only importer of wandb on the worker's side. Every
logged value carries an explicit `step=`, a pure function of training progress, and the run opens
with `resume="allow"`: a run that is killed and resumed, or that reads a training which
another run paid for, shows the same curve.
"""

import json
import os
import re
import socket
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import signals, takeover
from agent.config import sweep_yaml
from agent.config.run_config import RunConfig
from agent.config.shared_devices import agents_on_device
from agent.errors import (
    ConfigError,
    DataError,
    Fault,
    OutOfMemory,
    TrackingError,
    TrainingDiverged,
    fault_of,
    first_line,
    one_line,
)
from agent.results.presentation import label_of
from agent.signals import Interrupted, Interruption, seconds_since_notice
from agent.takeover import Term
from agent.tracking.client import wandb
from agent.tracking.project import ProjectSweeps
from agent.tracking.provenance import origin_values

if TYPE_CHECKING:
    from agent.training.facts.hooks import StepLoss

DEFAULT_PROJECT = "sweep-agent"
TABLE_ROWS = 50
OWN_SECONDS = "train/own_gpu_seconds"


class Run:
    """One W&B run. Use as a context manager, so that it is finished whatever happens."""

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._opened = time.monotonic()
        self._term = _take_term(config)
        self.sweeps = ProjectSweeps()
        settings = wandb.Settings(console="wrap")
        name = config.display_name(sweep_yaml.swept_keys(self.sweeps.own))
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", DEFAULT_PROJECT),
                job_type="training",
                name=name,
                config={
                    **config.model_dump(mode="json"),
                    "variant": label_of(config.variant),
                    **origin_values(),
                },
                resume="allow",
                settings=settings,
            )
        except wandb.Error as error:
            raise TrackingError(
                f"W&B does not open a run: {first_line(error)}; log in with `wandb login`, or set "
                "WANDB_MODE=offline"
            ) from error
        if self._run.resumed:
            self._forget_last_end()
        self.is_online = not self._run.offline
        self.is_pruned = False
        self._next_step = self._run.starting_step  # `step` is 0 until a resumed run logs
        self._paid_before_s = float(self._run.summary.get(OWN_SECONDS) or 0.0)
        self._best: dict[str, object] = {}
        self._best_score = -1.0
        self._trained_epochs = 0.0
        self._run.define_metric("step")
        self._run.define_metric("epoch")
        self._run.define_metric("train/*", step_metric="step")
        self._run.define_metric("validation/*", step_metric="epoch")

    def _forget_last_end(self) -> None:
        """What an earlier life said of its end is not true of this one's."""
        names = list(self._run.summary.keys())  # the summary cannot be iterated over
        for name in names:
            if name.startswith("stopped/"):
                del self._run.summary[name]
        self._run.tags = tuple(set(self._run.tags or ()) - {"diverged", "invalid"})

    # ------------------------------------------------------------------ who it is
    @property
    def id(self) -> str:
        return str(self._run.id)

    @property
    def path(self) -> str:
        """entity/project, within which runs are compared."""
        return f"{self._run.entity}/{self._run.project}"

    def scope(self, identity: Mapping[str, str]) -> str:
        """Within which runs compete: the project, and what has to agree for scores to compare."""
        agreeing = ("base/digest", "data/digest", "evaluation/digest")
        return " ".join([self.path, *(identity[name] for name in agreeing)])

    def check(self) -> None:
        """Raise Interrupted when a signal has come; end an orphan."""
        self._check_term()
        signals.check()

    def _check_term(self) -> None:
        """Before every write: an orphan of a node that was taken for dead may wake up any time.

        It ends like a killed process, because all that an orderly end would still write (the
        run's last words, its trial, its lease) belongs to its successor.
        """
        if self._term is not None and self._term.is_over:
            takeover.leave_without_a_word(
                f"train.py: run {self.id} goes on in another process; this one, life "
                f"{self._term.number}, was taken for dead and writes nothing any more"
            )

    # ------------------------------------------------------------------ logging
    def watch(self, model: Any) -> None:
        if self._config.watch != "none":
            self._run.watch(model, log=self._config.watch, log_freq=self._config.log_every_steps)

    def log_losses(self, losses: Sequence["StepLoss"]) -> None:
        """The losses that lead to an evaluation point; the point's own goes with its scores."""
        for loss in losses[:-1]:
            self.log_loss(loss)

    def log_loss(self, loss: "StepLoss") -> None:
        self._trained_epochs = max(self._trained_epochs, loss.epoch)
        if loss.step % self._config.log_every_steps == 0:
            values = {
                "train/loss": loss.loss,
                "train/learning_rate": loss.learning_rate,
                "epoch": loss.epoch,
                "step": loss.step,
            }
            self._log(loss.step, values)

    def log_point(self, step: int, score: float, values: Mapping[str, object]) -> None:
        """The values of an evaluation point, under its step; `score` says which point is best."""
        self._log(step, values)
        self._note_best(score, values)
        self.summarise({OWN_SECONDS: self._paid_s()})

    def _log(self, step: int, values: Mapping[str, object]) -> None:
        """What a resumed run has logged before is not logged again."""
        if step >= self._next_step:
            self._check_term()
            self._run.log(dict(values), step=step)
            self._next_step = step + 1

    def _note_best(self, score: float, values: Mapping[str, object]) -> None:
        if score > self._best_score:
            self._best_score = score
            self._best = {
                "best/validation_f1_score": score,
                "best/validation_accuracy": values["validation/accuracy"],
                "best/epoch": values["epoch"],
                "best/step": values["step"],
            }

    def _paid_s(self) -> float:
        """Seconds this run has held its devices, earlier attempts and waiting included; under
        torchrun each process holds one, and agents that share a GPU hold a share of it."""
        devices = int(os.environ.get("WORLD_SIZE", "1")) / agents_on_device(os.environ)
        return self._paid_before_s + devices * (time.monotonic() - self._opened)

    def summarise(self, values: Mapping[str, object]) -> None:
        """Write summary values; None stands for 'not measured' and is left out, never 0."""
        self._check_term()
        known = {name: value for name, value in values.items() if value is not None}
        self._run.summary.update({**self._best, **known})

    def tag(self, *tags: str) -> None:
        self._check_term()
        self._run.tags = tuple(dict.fromkeys([*(self._run.tags or ()), *tags]))

    def mark_pruned(self, values: Mapping[str, object]) -> None:
        """Say that, where and why the run was stopped early."""
        self.is_pruned = True
        self.summarise({**values, "stopped/trained_epochs": self._trained_epochs or None})
        self.tag("pruned")
        print(f"pruned at rung {values['stopped/rung']}: {values['stopped/reason']}", flush=True)

    def note_smaller_passes(self, config: RunConfig, error: OutOfMemory) -> RunConfig:
        """What to try after `error`: the same batch in smaller passes. Raises it when there are
        none left."""
        smaller = config.with_smaller_passes()
        if smaller is None:
            raise error
        print(f"{error}; again with micro_batch_size = {smaller.micro_batch_size}", flush=True)
        self.tag("smaller passes")
        self.summarise({"train/fitted_micro_batch_size": smaller.micro_batch_size})
        return smaller

    def log_model(self, files: Mapping[str, Path | str], metadata: Mapping[str, object]) -> None:
        """The model artifact: `files` maps names inside it to files, folders or texts."""
        if files:
            described = {**self._config.model_dump(mode="json"), **metadata}
            self._log_artifact(artifact_name(self._config), "model", files, described)

    def log_predictions(self, rows: Path) -> None:
        """All predictions as an artifact, and the first rows as a table in the run."""
        name = f"predictions-{artifact_name(self._config)}"
        self._log_artifact(name, "predictions", {rows.name: rows}, {})
        records = [json.loads(line) for line in rows.read_text().split("\n")[:-1][:TABLE_ROWS]]
        columns = list(records[0])
        data = [[_cell(record[column]) for column in columns] for record in records]
        self._run.summary.update({"validation/predictions": wandb.Table(columns, data)})

    def _log_artifact(
        self,
        name: str,
        kind: str,
        content: Mapping[str, Path | str],
        metadata: Mapping[str, object],
    ) -> None:
        self._check_term()
        artifact = wandb.Artifact(name, type=kind, metadata=dict(metadata))
        with tempfile.TemporaryDirectory() as folder:
            for inside, source in content.items():
                if isinstance(source, str):
                    written = Path(folder) / inside
                    written.write_text(source)
                    artifact.add_file(str(written), name=inside)
                elif source.is_dir():
                    artifact.add_dir(str(source), name=inside)
                else:
                    artifact.add_file(str(source), name=inside)
            self._run.log_artifact(artifact)

    # ------------------------------------------------------------------ ending
    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: object
    ) -> None:
        if isinstance(error, Interrupted) and error.kind is Interruption.PREEMPTED:
            print(f"preempted: saved {seconds_since_notice():.1f} s after the notice", flush=True)
        try:
            self.summarise({OWN_SECONDS: self._paid_s()})
            if error is not None:
                self._explain(error)
            self._run.finish(exit_code=_exit_code(error))
        except Exception as fault:  # the client raises many kinds
            if not isinstance(error, Interrupted):
                raise
            # Slurm's SIGTERM reaches wandb's own process as well, which then ends first.
            print(f"{error}: all is saved; W&B hears of it from the task ({first_line(fault)})")
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(error.kind.value)  # the client's farewell would be a traceback

    def _explain(self, error: BaseException) -> None:
        if isinstance(error, Interrupted):
            if error.kind is Interruption.PREEMPTED:
                self._run.mark_preempting()
                return
            self.summarise({"stopped/reason": "stopped from outside (SIGTERM or Ctrl-C)"})
        elif isinstance(error, TrainingDiverged):
            self.tag("diverged")
            self.summarise({"stopped/reason": str(error)})
        elif fault_of(error) is Fault.SITE:
            self.summarise({"stopped/reason": _site_reason(error)})
            self._run.mark_preempting()  # costs the grid point none of its attempts
        else:
            self.summarise({"stopped/reason": f"{type(error).__name__}: {first_line(error)}"})


def _exit_code(error: BaseException | None) -> int:
    if error is None or isinstance(error, TrainingDiverged):
        return 0
    return error.kind.value if isinstance(error, Interrupted) else fault_of(error).exit_status


def end_unopened(error: Exception) -> None:
    """End a grid point that failed before it opened its run.

    With an invalid config, or data or a base that cannot be used, its run is opened and ended
    with the reason, so that the dashboard shows why and it is not tried again. Where the site was
    at fault, the point is handed back uncharged. Nothing happens for other errors and for a signal
    while the site was waited for, outside a sweep and in the other processes of torchrun.
    """
    if isinstance(error, Interrupted):
        return
    if not os.environ.get("WANDB_SWEEP_ID") or os.environ.get("RANK", "0") != "0":
        return
    if fault_of(error) is Fault.SITE:
        with suppress(wandb.Error, OSError):  # it may be the server that is away
            run = wandb.init(job_type="training", resume="allow")
            run.summary.update({"stopped/reason": _site_reason(error)})
            run.mark_preempting()
            run.finish(exit_code=Fault.SITE.exit_status)
    elif isinstance(error, ConfigError | DataError):
        tags = ["invalid"]
        run = wandb.init(
            job_type="training",
            name="invalid config",
            config=origin_values(),
            resume="allow",
            tags=tags,
        )
        run.summary.update({"stopped/reason": str(error)})
        run.finish(exit_code=Fault.CALL.exit_status)


def _site_reason(error: BaseException) -> str:
    return f"the site: {one_line(error)}"


def artifact_name(config: RunConfig) -> str:
    """The variant in the characters that W&B allows in artifact names."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", config.cell_name)


def _take_term(config: RunConfig) -> Term | None:
    """From here on no earlier process of this run may write; a run with a new id has none."""
    run_id = os.environ.get("WANDB_RUN_ID")
    if not run_id:
        return None
    directory = Path(config.store).expanduser().absolute() / "runs" / f"{run_id}.terms"
    return Term.take(directory, {"host": socket.gethostname(), "pid": os.getpid()})


def _cell(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, list) else value
