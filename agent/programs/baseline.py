"""The untouched base model: what every variant has to beat, in each form it can be served in.

    sweep-agent baseline --config point.json --out baseline.json --every-form

A process of its own, like train.py, because it loads the model. `sweep-agent report --baseline`
reads what it writes.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agent import extensions
from agent.config import variants
from agent.config.cli_options import add_fields, read_point
from agent.config.run_config import RunConfig
from agent.errors import SweepAgentError
from agent.files import write_json
from agent.log_noise import quieten_libraries
from agent.programs.benchmark_command import run_process

if TYPE_CHECKING:
    from agent.training.data_formats import Example

# Served without an adapter, the base is as it was loaded; what is quantised only after a merge
# gives the same weights as the base that was loaded in that form.
FORMS = ("merged", "quantised_base_with_adapter")


def add_baseline_arguments(parser: argparse.ArgumentParser) -> None:
    _add_options(parser)
    add_fields(parser)


def run_baseline(args: argparse.Namespace) -> int:
    """Score the base in a process of its own, because it loads the model."""
    return run_process(["agent.programs.baseline", *args.words])


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file; printed without it")
    parser.add_argument(
        "--queries", type=int, default=0, metavar="N", help="also measure inference on N queries"
    )
    parser.add_argument(
        "--every-form", action="store_true", help="16 bit and each quantisation, as a list"
    )
    parser.add_argument("--test", action="store_true", help="score it on the test split, too")


def main(words: Sequence[str]) -> int:
    quieten_libraries()
    parser = argparse.ArgumentParser(prog="sweep-agent baseline", allow_abbrev=False)
    _add_options(parser)
    args, point = parser.parse_known_args(list(words))
    try:
        extensions.load()
        config = RunConfig.parse(read_point(point), where="--config", files=True)
        forms = forms_of(config) if args.every_form else [config]
        scored = [score_base(form, queries=args.queries, on_test=args.test) for form in forms]
    except SweepAgentError as error:
        print(f"baseline: {error}", file=sys.stderr)
        return 2
    values: object = scored if args.every_form else scored[0]
    if args.out:
        write_json(args.out, values)
    else:
        print(json.dumps(values, indent=1))
    return 0


def forms_of(config: RunConfig) -> list[RunConfig]:
    """The config once for every form of the base: 16 bit, then each quantisation."""
    rows = {row.quantization_method: row for row in variants.VARIANTS if row.deployment in FORMS}
    return [
        config.model_copy(
            update={
                "model_variant": row.model_variant,
                "quantization_strategy": row.quantization_strategy,
                "quantization_method": row.quantization_method,
            }
        )
        for row in rows.values()
    ]


def score_base(config: RunConfig, *, queries: int = 0, on_test: bool = False) -> dict[str, object]:
    """The study's score keys for the base without any adapter, on the config's validation data,
    in the form (16 bit, or quantised) that the config's variant is served in; on its test data
    and with its inference where they are asked for."""
    from agent.evaluation import validation
    from agent.training import base_model, data
    from agent.training.facts import base_files

    examples = data.load(config)
    path = base_files.locate(config)
    device = base_model.choose_device(config)
    model = base_model.load(config, path, config.variant.training_precision, device)
    scores = validation.score_adapter(
        config, model, None, examples.validation, calibration=examples.train
    )
    named = scores.metrics()
    tested = {}
    if on_test:
        last = validation.score_adapter(
            config, model, None, data.load_test(config), calibration=examples.train
        )
        tested = {f"test/{name}": value for name, value in last.metrics().items()}
    del model  # a benchmark loads its own
    return {
        "base_model": config.base_model,
        "quantization_strategy": config.quantization_strategy,
        "quantization_method": config.variant.quantization_method,
        **{f"validation/{name}": value for name, value in named.items()},
        "final/validation_f1_score": named["f1_score"],
        "final/validation_accuracy": named["accuracy"],
        "final/avg_f1": named["avg_f1"],
        **tested,
        "inference/model_size_gb": scores.model_size_gb,
        "evaluation/digest": validation.digest_of_examples(config, path, examples.validation),
        **(measure_base(config, path, examples.validation, queries) if queries else {}),
    }


def measure_base(
    config: RunConfig, path: Path, examples: "Sequence[Example]", queries: int
) -> dict[str, object]:
    """The inference of the untouched base at `path` on so many of the examples, by the keys of a
    run's own benchmark."""
    from agent.evaluation import hardware as benchmark_hardware
    from agent.evaluation import inference_benchmark, served_model
    from agent.training import prompts

    served = served_model.serve(config, path, lambda: None)
    chosen = inference_benchmark.choose_queries(examples, queries)
    encoded = [prompts.prompt_ids(served.tokenizer, example.messages) for example in chosen]
    limits = [config.answer_limit(example.task) for example in chosen]
    measured = inference_benchmark.measure(served, encoded, max_new_tokens=limits)
    hardware = benchmark_hardware.describe(served.device)
    return {
        **{name: value for name, value in measured.items() if value is not None},
        "inference/gpu": hardware.gpu,
        "inference/setup": hardware.setup,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
