"""Measure the inference of one finished run, on real validation queries, in its deployed form.

    python -m agent.programs.benchmark ENTITY/PROJECT/RUN --queries 50

A process of its own, so that no memory of a training is in the way. The measurement becomes a W&B
run of its own, and stands on the training run too, next to its scores.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from agent import extensions
from agent.config.run_config import RunConfig
from agent.config.shared_devices import agents_on_device
from agent.errors import DataError, SweepAgentError
from agent.files import write_json
from agent.log_noise import quieten_libraries
from agent.results import metrics
from agent.tracking import finished_runs
from agent.tracking.client import open_api
from agent.tracking.finished_runs import FinishedRun


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="agent.programs.benchmark", allow_abbrev=False)
    parser.add_argument("run", metavar="RUN_OR_ARTIFACT")
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--store")
    parser.add_argument("--reference", action="store_true")
    parser.add_argument("--only-missing", action="store_true")
    parser.add_argument("--out", type=Path)
    return parser


def main(words: Sequence[str]) -> int:
    quieten_libraries()
    args = build_parser().parse_args(list(words))
    try:
        extensions.load()
        run = finished_runs.find(open_api(), args.run)
        values = benchmark(
            run,
            args.queries,
            store=args.store,
            is_reference=args.reference,
            only_missing=args.only_missing,
        )
    except SweepAgentError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    if args.out:
        write_json(args.out, values)
    return 0


def benchmark(
    run: FinishedRun,
    queries: int,
    *,
    store: str | None = None,
    is_reference: bool = False,
    only_missing: bool = False,
) -> dict[str, object]:
    """Measure `run` and log it on both runs; the measured values by key.

    With `only_missing`, nothing when the run has a measurement of this very setup.
    """
    from agent.evaluation import hardware as benchmark_hardware
    from agent.training import base_model

    hardware = benchmark_hardware.describe(base_model.choose_device(run.config))
    if only_missing and has_measurement(run, hardware.key):
        print(f"{run.name}: measured before on {hardware.setup}", flush=True)
        return {}
    if (agents := agents_on_device(os.environ)) > 1:
        print(
            f"{run.name}: not measured, because {agents} agents share this GPU and a latency "
            f"would be that of all of them; run `sweep-agent benchmark {run.path}` where one has "
            "it to itself",
            flush=True,
        )
        return {}
    measured: dict[str, object] = {
        **measure(run, queries, store=store),
        "inference/gpu": hardware.gpu,
        "inference/setup": hardware.setup,
    }
    inference_run = finished_runs.log_inference(
        run,
        {**hardware.values(), "queries": queries},
        {**metrics.beside_inference(run.summary), **measured, **hardware.values()},
    )
    update = metrics.inference_update(
        run.summary,
        {**measured, "inference/run": inference_run},
        setup_key=hardware.key,
        is_reference=is_reference,
    )
    finished_runs.amend_summary(run, update)
    print(f"{run.name}: logged as {inference_run} and on {run.path}", flush=True)
    return measured


def has_measurement(run: FinishedRun, setup_key: str) -> bool:
    """True when the run's summary holds a row of this setup, as the plain one or beside it."""
    return (
        run.summary.get("inference/setup_key") == setup_key
        or f"inference_on_{setup_key}/setup_key" in run.summary
    )


def measure(run: FinishedRun, queries: int, *, store: str | None = None) -> dict[str, float | None]:
    """The benchmark's metrics of the run's deployment, without telling W&B."""
    from agent.evaluation import inference_benchmark as inference
    from agent.evaluation import served_model, validation
    from agent.training import data, prompts

    config = run.config
    examples = data.load(config)
    root = store_of(config, store)
    base_path = served_model.locate_base(
        config, str(run.summary.get("base/digest", "")), root / "digests"
    )
    digest = validation.digest_of_examples(config, base_path, examples.validation)
    if (wanted := run.summary.get("evaluation/digest")) not in (None, digest):
        raise DataError(
            f"{run.path}: dataset = {config.dataset!r} gives other validation queries "
            f"({digest}) than the run was scored on ({wanted}); put its data back in place"
        )
    with tempfile.TemporaryDirectory(prefix="sweep-agent-") as folder:
        served = served_model.serve(
            config, base_path, lambda: adapter_of(run, root, Path(folder)), examples.train
        )
    chosen = inference.choose_queries(examples.validation, queries)
    return inference.measure(
        served,
        [prompts.prompt_ids(served.tokenizer, example.messages) for example in chosen],
        max_new_tokens=[config.answer_limit(example.task) for example in chosen],
        tell=lambda line: print(f"{run.name}: {line}", flush=True),
    )


def store_of(config: RunConfig, store: str | None) -> Path:
    return Path(store or config.store).expanduser().absolute()


def adapter_of(run: FinishedRun, root: Path, folder: Path, epoch: float | None = None) -> Path:
    """The run's last adapter: from the training store when it is whole there, else downloaded.

    That of an earlier evaluation point, at `epoch`, is in the store only.
    """
    from agent.evaluation import served_model

    if epoch is not None:
        return served_model.find_adapter_at(root, run.training_key, epoch)
    group = "stopped" if "stopped/step" in run.summary else "final"  # pruned, or complete
    step = run.summary.get(f"{group}/step")
    if step is None:
        raise DataError(f"{run.path}: has no final/step, so it never reached an evaluation point")
    digest = run.summary.get(f"{group}/point_digest")
    found = served_model.find_adapter(
        root, run.training_key, int(step), str(digest) if digest else None
    )
    if found is None:
        print(f"{run.name}: adapter from its artifact (not in the store {root})", flush=True)
    return found or finished_runs.download_adapter(run, folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
