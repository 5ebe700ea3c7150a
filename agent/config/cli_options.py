"""The command line of train.py: every field of RunConfig as an option, explained from the field.

Values stay words here; RunConfig alone decides what they mean, so that a grid point from W&B and
one typed by a person are read the same.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from agent.config import variants
from agent.config.rules import PRUNERS
from agent.config.run_config import RunConfig
from agent.config.run_fields import choices_of, group_of
from agent.errors import ConfigError

_GROUP_TITLES = {
    "deployment": "the variant",
    "training": "training",
    "evaluation": "evaluation",
    "search": "search and pruning",
    "operation": "operation (changes no result)",
}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="train.py",
        description=(
            "Run one grid point: train the adapter (or take it from the store), validate every "
            "evaluation point as deployed, report to W&B, and stop early when it cannot win."
        ),
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_fields(parser)
    return parser


def add_fields(parser: argparse.ArgumentParser) -> None:
    """Every field of a grid point as an option, and `--config` for a file of them."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="JSON of a grid point, as wandb agent writes it (${args_json_file}); "
        "options beside it win",
    )
    groups = {name: parser.add_argument_group(title) for name, title in _GROUP_TITLES.items()}
    for name, field in RunConfig.model_fields.items():
        groups[group_of(field)].add_argument(
            *dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}")),
            dest=name,
            metavar=_metavar(name),
            default=argparse.SUPPRESS,
            help=_help(name),
        )


def read_point(words: Sequence[str]) -> dict[str, object]:
    """The values of a command line, unchecked: those of `--config`, then the options' own.

    Words that are not an option are returned under their name, so that RunConfig reports them
    together with everything else. ConfigError when the file cannot be read.
    """
    known, unknown = build_parser().parse_known_args(list(words))
    given = vars(known)
    file = given.pop("config", None)
    point = _read_file(Path(file)) if file else {}
    return {**point, **given, **_unknown_options(unknown)}


def _read_file(path: Path) -> dict[str, object]:
    try:
        point = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError([f"{path}: cannot be read as JSON: {error}"], where="--config") from None
    if not isinstance(point, dict):
        raise ConfigError([f"{path}: must hold one object of config keys"], where="--config")
    return point


def _unknown_options(words: Sequence[str]) -> dict[str, object]:
    """`--name value`, `--name=value` and stray words, by name."""
    found: dict[str, object] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            found[name] = value
        elif name:
            found[name], name = word, ""
        else:
            found[word] = ""
    return found


def _metavar(name: str) -> str:
    unit = _unit(name)
    return unit.upper() if unit else "VALUE"


def _unit(name: str) -> str:
    extra = RunConfig.model_fields[name].json_schema_extra
    assert isinstance(extra, dict)
    return str(extra["unit"])


def _help(name: str) -> str:
    field = RunConfig.model_fields[name]
    words = {
        "model_variant": variants.model_variants(),
        "adapter_method": tuple(variants.ADAPTER_METHODS),
        "pruner": PRUNERS,
    }.get(name) or choices_of(field)
    parts = [field.description or ""]
    if words:
        parts.append("one of " + ", ".join(words))
    if unit := _unit(name):
        parts.append(f"in {unit}")
    default = "required" if field.is_required() else f"default {_shown(field.default)}"
    return f"{'; '.join(parts)} ({default})".replace("%", "%%")


def _shown(default: object) -> str:
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _epilog() -> str:
    rows = [
        f"  {row.model_variant:<10} {row.quantization_strategy:<6} "
        f"trains on {row.training_precision}, served {row.deployment.replace('_', ' ')} "
        f"({row.quantization_method})"
        for row in variants.VARIANTS
    ]
    example = (
        "example:\n  python train.py --model_variant QLoRA --quantization_strategy int4 "
        "--learning_rate 2e-4 \\\n      --base_model Qwen/Qwen2.5-3B-Instruct --dataset my.jsonl"
    )
    return "valid cells of model_variant and quantization_strategy:\n" + "\n".join(
        [*rows, "", example]
    )
