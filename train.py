"""One grid point, start to finish.

    python train.py --model_variant QLoRA --quantization_strategy int4 --learning_rate 2e-4 …
    python train.py --config point.json          (as `wandb agent` calls it)

Read the point; open its W&B run; follow the training through its evaluation points (reading those
that exist in the store, training the others); score each as it would be deployed; let the pruner
decide; leave scores, adapter and the reason for the end with the run.
"""

import sys
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from agent import extensions, signals
from agent.errors import OutOfMemory, fault_of, one_line
from agent.log_noise import outlive_a_full_log, quieten_libraries
from agent.programs import warm_client
from agent.signals import Interrupted, Interruption
from agent.tracking.patience import Patience

if TYPE_CHECKING:
    from agent.config.run_config import RunConfig
    from agent.tracking.run import Run
    from agent.training.base_model import Base
    from agent.training.evaluation_points import Training


def main(words: Sequence[str]) -> int:
    """Exit status: 0 finished, pruned, diverged; 2 a user's mistake; 74 the site's fault (disk,
    quota, network) that lasted; 75 preempted; 76 taken for dead, and going on elsewhere; 143
    stopped. `agent.errors.Fault` says what follows from each.
    """
    signals.install()  # before the heavy imports, so that no signal is lost
    quieten_libraries()
    outlive_a_full_log()
    try:
        extensions.load()
        run(read_config(words))
    except Interrupted as interrupted:
        return interrupted.kind.value
    except Exception as error:
        fault = fault_of(error)
        if not fault.value.is_one_line:
            raise
        print(f"train.py: {one_line(error)}", file=sys.stderr)
        return fault.exit_status
    return 0


def read_config(words: Sequence[str]) -> "RunConfig":
    """The config, with every violation reported together before any model is loaded."""
    from agent.config.cli_options import read_point
    from agent.config.run_config import RunConfig

    def read() -> RunConfig:
        return RunConfig.parse(read_point(words), where="the grid point", files=True)

    try:
        return Patience(signals.check).keep_trying(read)
    except Exception as error:
        from agent.tracking import run as tracking

        tracking.end_unopened(error)
        raise


def run(config: "RunConfig") -> None:
    from agent.tracking import run as tracking
    from agent.training import data, data_parallel, preflight
    from agent.training.evaluation_points import Training

    if data_parallel.is_helper():  # under torchrun, all processes but the first
        Training(config, data.load(config)).help()
        return
    opening = Patience(signals.check)
    try:  # the base is taken out by the first attempt, not kept
        checked = [opening.keep_trying(lambda: preflight.check_weights(config))]
        opened = opening.keep_trying(lambda: tracking.Run(config))
    except Exception as error:
        tracking.end_unopened(error)
        raise
    with opened as tracked:
        fitting, training = config, None
        patience = Patience(tracked.check)
        while training is None:
            try:
                training = follow(config, fitting, tracked, checked)
            except OutOfMemory as error:  # the same steps in smaller passes, while that is possible
                if data_parallel.world_size() > 1:
                    raise  # the helpers are inside the step that failed; torchrun ends them
                fitting = tracked.note_smaller_passes(fitting, error)
            except Exception as error:
                if data_parallel.world_size() > 1:
                    raise
                patience.outlast(error)  # a full disk costs a run time, not one of its attempts
    if tracked.is_online:
        patience.keep_trying(training.note_uploaded)  # only now has the server everything
        if config.benchmark_queries and not tracked.is_pruned:
            from agent.programs import benchmark_command

            training.free()
            benchmark_command.measure_own_run(f"{tracked.path}/{tracked.id}", config)


def must_go_on(error: BaseException) -> bool:
    """Whether the run that `error` ends will be continued: preempted, or stopped by the site."""
    if isinstance(error, Interrupted):
        return error.kind is Interruption.PREEMPTED
    return fault_of(error).value.is_waited_out


def follow(
    config: "RunConfig", fitting: "RunConfig", tracked: "Run", checked: "list[Base | None]"
) -> "Training":
    """Follow the training of `fitting`: the config, in passes that fit the device. A base that
    was loaded to be `checked` is taken from there."""
    from agent.evaluation import hardware, model_artifact, validation
    from agent.evaluation.shared_scores import SharedScores
    from agent.programs import logged_values
    from agent.search.trials import Outrun, history_values, open_trial
    from agent.training import preflight
    from agent.training.evaluation_points import Training
    from agent.training.facts import devices
    from agent.training.facts.hooks import Hooks
    from agent.training.work_ahead import Meanwhile

    # ---------------------------------------------------------------- what is trained
    found = preflight.examined(fitting)
    print("\n".join(found.lines), flush=True)
    share = SharedScores(tracked.sweeps.needed, tracked.check)
    ahead = Meanwhile(config, tracked.sweeps.needed, tracked.id, tracked.check, share)
    hooks = Hooks(tracked.check, on_step=tracked.log_loss, on_model=tracked.watch, idle=ahead)
    base = checked.pop() if checked else None
    training = Training(fitting, found.data, run_id=tracked.id, hooks=hooks, base=base)
    del base
    identity = validation.identity(training)
    device = hardware.training_values(training.device_facts)
    if idle := devices.unused_gpu(config, training.device_facts):
        print(f"warning: {idle}", flush=True)
        tracked.tag("GPU not used")
    tracked.summarise({**identity, **training.facts(), **found.facts, **device})

    # ---------------------------------------------------------------- whom it competes with
    opened_trial = open_trial(
        config,
        run_id=tracked.id,
        scope=tracked.scope(identity),
        rungs=len(training.plan.point_steps),
        peers=tracked.sweeps.peers(config),
        default_journal=training.root / "pruning" / "journal.log",
    )
    points, scores = [], None
    with opened_trial as trial, closing(training.points()) as following:
        training.between_steps(trial.stop_if_outrun)
        try:
            # -------------------------------------------------------- point after point
            for point in following:
                scores = validation.score_point(training, point, tracked.check)
                points.append(point)
                tracked.log_losses(point.losses)
                by_example = scores.by_example()
                values = logged_values.point_values(point, scores) | history_values(by_example)
                tracked.log_point(point.step, scores.metrics()["f1_score"], values)
                verdict = trial.report(point.number, by_example)
                share(training, point)
                if verdict.prune:
                    break
        except Outrun:  # between two points: the others have meanwhile got too far ahead
            pass
        except BaseException as error:
            if must_go_on(error):
                trial.suspend()  # its rungs go on counting while the run waits for its next life
            raise

    # ---------------------------------------------------------------- how it ended
    if trial.verdict.prune:
        tracked.mark_pruned(logged_values.verdict_values(trial.verdict))
    if (
        scores is None
    ):  # outrun by what an earlier life had reported, before anything was read again
        return training
    tracked.summarise(
        logged_values.final_values(
            points, scores, tracked.id, training.waited_s, is_pruned=trial.verdict.prune
        )
    )
    tracked.log_predictions(scores.predictions_file)
    tracked.log_model(model_artifact.model_files(training, points[-1]), identity)
    model_artifact.note_end(training, points, scores, pruned=trial.verdict.prune)
    return training


if __name__ == "__main__":
    status = warm_client.run(__file__, sys.argv[1:])  # where a worker waits that is warm already
    sys.exit(main(sys.argv[1:]) if status is None else status)
