"""Make the full curves that pruners are replayed on: real trainings of the demo model, no pruning.

    python -m tests.tools.make_curves --seeds 0 1 2 --out tests/search/curves.json.gz

Five strata per seed, eight learning rates, nine rungs, scores per example. The 16-bit training is
shared by three strata. What exists in the store is not made again, so it can be stopped and
started; --jobs processes take one training at a time with its deployments.
"""

import argparse
import itertools
import multiprocessing
import os
import sys
from collections.abc import Iterable
from contextlib import closing
from functools import partial
from pathlib import Path

from agent.config import sweep_yaml, variants
from agent.config.run_config import RunConfig
from agent.demo import data as demo_data

ROOT = Path(__file__).resolve().parents[2]
RATES = (5e-4, 1e-3, 2e-3, 4e-3, 7e-3, 1.2e-2, 2e-2, 4e-2)
EPOCHS = 9


def all_configs(
    seeds: Iterable[int], rates: Iterable[float], epochs: int, store: Path
) -> list[RunConfig]:
    """Every grid point, with the settings of the demo's sweeps."""
    sweep = sweep_yaml.load(ROOT / "sweeps/demo/full_lora.yaml")
    swept = sweep_yaml.swept_keys(sweep)
    point = next(sweep_yaml.grid_points(sweep))
    fixed = {key: value for key, value in point.items() if key not in swept}
    dataset = Path(str(fixed["dataset"]))
    if not dataset.exists():
        demo_data.write_data(dataset)
    return [
        RunConfig.parse(
            {
                **fixed,
                "model_variant": row.model_variant,
                "quantization_strategy": row.quantization_strategy,
                "seed": seed,
                "learning_rate": rate,
                "epochs": epochs,
                "eval_every": 1.0,
                "pruner": "none",
                "store": str(store),
            }
        )
        for seed, row, rate in itertools.product(seeds, variants.VARIANTS, rates)
    ]


def make_training(configs: list[RunConfig], journal: Path) -> str:
    """All deployments of one training; the first trains, the others read its points."""
    import torch

    from agent.evaluation import validation
    from agent.log_noise import quieten_libraries
    from agent.search.trials import open_trial
    from agent.training import data
    from agent.training.evaluation_points import Training

    torch.set_num_threads(1)
    quieten_libraries()
    for config in configs:
        run_id = config.point_key()
        training = Training(config, data.load(config), run_id=run_id)
        with (
            open_trial(
                config,
                run_id=run_id,
                scope="curves",
                rungs=len(training.plan.point_steps),
                peers=None,
                default_journal=journal,
            ) as trial,
            closing(training.points()) as points,
        ):
            for point in points:
                scores = validation.score_point(training, point)
                trial.report(point.number, scores.by_example())
    return f"{configs[0].variant.training_precision} {configs[0].display_name()}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    parser.add_argument(
        "--variants", nargs="+", default=variants.model_variants(), help="model variants to make"
    )
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--store", type=Path, default=Path("outputs/curves"))
    parser.add_argument("--out", type=Path, default=Path("tests/search/curves.json.gz"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    store, journal = args.store.absolute(), args.store.absolute() / "pruning" / "journal.log"
    groups: dict[tuple[int, str, float], list[RunConfig]] = {}
    for config in all_configs(args.seeds, args.rates, args.epochs, store):
        if config.model_variant not in args.variants:
            continue
        precision = config.variant.training_precision
        groups.setdefault((config.seed, precision, config.learning_rate), []).append(config)
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        work = pool.imap_unordered(partial(make_training, journal=journal), groups.values())
        for number, name in enumerate(work, 1):
            print(f"{number} of {len(groups)}: {name}", flush=True)
    from agent.search.replay import curves
    from agent.search.replay.curve_sources import from_storage
    from agent.search.storages import open_storage

    items = from_storage(open_storage(str(journal), journal))
    words = " ".join(["tests/tools/make_curves.py", "--seeds", *map(str, args.seeds)])
    curves.save(args.out, items, made_by=f"python {words}")
    print(f"{len(items)} strata in {args.out}: {args.out.stat().st_size / 1024:.0f} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
