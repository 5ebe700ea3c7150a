"""Scores of the untouched base model: what every variant has to beat.

    python -m agent.baseline --config point.json --out baseline.json

A process of its own, like train.py, because it loads the model.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from agent import extensions
from agent.arguments import read_point
from agent.config import RunConfig
from agent.errors import SweepAgentError
from agent.files import write_json
from agent.quiet import quieten_libraries


def main(words: Sequence[str]) -> int:
    quieten_libraries()
    arguments = list(words)
    out = Path(arguments.pop(arguments.index("--out") + 1)) if "--out" in arguments else None
    arguments = [word for word in arguments if word != "--out"]
    try:
        extensions.load()
        values = score_base(RunConfig.parse(read_point(arguments), where="--config", files=True))
    except SweepAgentError as error:
        print(f"baseline: {error}", file=sys.stderr)
        return 2
    if out:
        write_json(out, values)
    else:
        print(json.dumps(values, indent=1))
    return 0


def score_base(config: RunConfig) -> dict[str, object]:
    """The study's score keys for the base without any adapter, on the config's validation data,
    in the form (16 bit, or quantised) that the config's variant is served in."""
    from agent.evaluation import validation
    from agent.training import base, data

    examples = data.load(config)
    path = base.locate(config)
    device = base.choose_device(config)
    model = base.load(config, path, config.variant.training_precision, device)
    scores = validation.score_adapter(
        config, model, None, examples.validation, calibration=examples.train
    )
    named = scores.metrics()
    return {
        "base_model": config.base_model,
        "quantization_method": config.variant.quantization_method,
        **{f"validation/{name}": value for name, value in named.items()},
        "final/validation_f1_score": named["f1_score"],
        "final/validation_accuracy": named["accuracy"],
        "final/avg_f1": named["avg_f1"],
        "inference/model_size_gb": scores.model_size_gb,
        "evaluation/digest": validation.evaluation_digest(config, examples.validation_digest),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
