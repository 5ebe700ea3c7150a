"""RunConfig: one grid point, validated once; the only type that every part shares.

Its fields stand in `run_fields`. `stratum` is every value outside `operation` except the tuned
keys: runs are compared with each other only inside one stratum.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agent.config import variants
from agent.config.rules import CELL, RULES, shown, unknown_name
from agent.config.run_fields import Group, RunFields, group_of
from agent.config.values import number_text
from agent.config.variants import Variant
from agent.errors import ConfigError

KEY_LENGTH = 16  # hexadecimal digits: 64 bits, plenty for one cluster's trainings


class RunConfig(RunFields):
    """One grid point. Build it with `RunConfig.parse`, which reports every violation together."""

    # ------------------------------------------------------------------ building
    @classmethod
    def parse(
        cls,
        values: Mapping[str, object],
        *,
        where: str = "the configuration",
        files: bool = False,
    ) -> "RunConfig":
        """Build from a grid point (typed JSON, YAML strings or command-line words).

        Keys that start with an underscore are W&B's own and ignored. With `files`, local files
        that the point names must exist.
        Raises ConfigError that names every violation, not just the first.
        """
        problems, config = cls.violations(values, files=files)
        if config is None:
            raise ConfigError(problems, where=where)
        return config

    @classmethod
    def violations(
        cls, values: Mapping[str, object], *, files: bool = False
    ) -> tuple[list[str], "RunConfig | None"]:
        """Every problem of `values`, and the config when there is none."""
        given = {name: value for name, value in values.items() if not name.startswith("_")}
        try:
            config = cls.model_validate(given)
            failed: set[str] = set()
            problems: list[str] = []
        except ValidationError as error:
            failed = {str(item["loc"][0]) for item in error.errors()}
            problems = list(dict.fromkeys(_message(item, given) for item in error.errors()))
            sound = {name: value for name, value in given.items() if name not in failed}
            config = _with_placeholders(cls, sound)
        for names, check in RULES:
            if not failed.intersection(names) and (problem := check(config)):
                problems.append(problem)
        if files:
            problems += config.missing_files(besides=failed)
        return problems, None if problems else config

    # ------------------------------------------------------------------ what it means
    @property
    def variant(self) -> Variant:
        return variants.find(
            self.model_variant, self.quantization_strategy, self.quantization_method
        )

    @property
    def forward_batch_size(self) -> int:
        return min(self.micro_batch_size or self.batch_size, self.batch_size)

    def length_limit(self, task: str) -> int:
        """Tokens that prompt and answer of an example of `task` may have together."""
        return self.max_length_by_task.get(task, self.max_length)

    def answer_limit(self, task: str) -> int:
        """New tokens that an answer of `task` may have."""
        return self.max_new_tokens_by_task.get(task, self.max_new_tokens)

    @property
    def longest_length(self) -> int:
        """The highest length limit of the tasks that this config may meet, in tokens."""
        if self.task is not None:
            return self.length_limit(self.task)
        return max([self.max_length, *self.max_length_by_task.values()])

    def with_smaller_passes(self) -> "RunConfig | None":
        """The same steps in forward passes of at most half the size; None when they are single."""
        half = self.forward_batch_size // 2
        sizes = [n for n in range(1, half + 1) if self.batch_size % n == 0]
        return self.model_copy(update={"micro_batch_size": sizes[-1]}) if sizes else None

    def values_of(self, *groups: Group) -> dict[str, object]:
        """The fields of the given groups, in declaration order, as plain JSON values."""
        values = self.model_dump(mode="json")
        return {n: v for n, v in values.items() if group_of(type(self).model_fields[n]) in groups}

    # ------------------------------------------------------------------ keys
    def training_identity(self, environment: Mapping[str, object]) -> dict[str, object]:
        """Everything that changes the adapter.

        `environment` brings what the config cannot know: digests of base and training data,
        device type, world size and library versions. Names and paths drop out in favour of the
        digests, so that moved files still match.
        """
        values = self.values_of("training")
        for name in _REPLACED_BY_DIGESTS:
            values.pop(name)
        values["micro_batch_size"] = self.forward_batch_size
        values["training_precision"] = self.variant.training_precision
        return {**values, **environment}

    def training_key(self, environment: Mapping[str, object]) -> str:
        return digest(self.training_identity(environment))

    def deployment_key(self) -> str:
        row = self.variant
        return digest({"deployment": row.deployment, "method": row.quantization_method})

    def evaluation_key(self, environment: Mapping[str, object]) -> str:
        """`environment` brings the digest of the scored examples and of the prompt format."""
        values = self.values_of("evaluation")
        for name in ("validation_dataset", "test_dataset"):
            values.pop(name)
        lengths = {n: getattr(self, n) for n in ("max_length", "max_length_by_task")}
        return digest({**values, **lengths, **environment})

    def stratum(self) -> dict[str, object]:
        """Every value that has to agree between runs which compete along the tuned keys."""
        values = self.values_of("training", "deployment", "evaluation", "search")
        return {name: value for name, value in values.items() if name not in self.tuned}

    def stratum_key(self) -> str:
        return digest(self.stratum())

    def tuned_values(self) -> dict[str, object]:
        values = self.model_dump(mode="json")
        return {name: values[name] for name in self.tuned}

    def point_key(self) -> str:
        """Identity of a grid point: its resolved config without `operation`."""
        return digest(self.values_of("training", "deployment", "evaluation", "search"))

    @property
    def cell_name(self) -> str:
        return variants.label(self.model_variant, self.quantization_strategy)

    def display_name(self, swept: Iterable[str] = ()) -> str:
        """A readable run name that contains every swept key."""
        names = {"learning_rate": "lr", "lora_rank": "r", "lora_alpha": "alpha"}
        values = self.model_dump(mode="json")
        keys = [k for k in dict.fromkeys([*self.tuned, *swept]) if k in values and k not in CELL]
        parts = [f"{names.get(key, key)}={_short(values[key])}" for key in keys]
        return " ".join([self.cell_name, *parts])

    def missing_files(self, *, besides: Collection[str] = ()) -> list[str]:
        """Local files this config names that do not exist (Hugging Face ids are not looked up)."""
        problems = []
        for name in ("base_model", "dataset", "validation_dataset", "test_dataset"):
            if name in besides:
                continue
            for part in str(getattr(self, name) or "").split(","):
                if part and is_path(part.strip()) and not exists(part.strip()):
                    problems.append(
                        f"{name} = {shown(part.strip())}: no such file or directory "
                        "(relative paths start where the command is run)"
                    )
        return problems


def exists(name: str) -> bool:
    """True when there is a file or directory of that name; False also where there cannot be one."""
    try:
        return Path(name).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long a name, a null byte, an unknown user
        return False


_DATA_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".gz")


def is_path(name: str) -> bool:
    """True when `name` is a place on disk, False when it has the form of a Hugging Face id."""
    if exists(name) or name.startswith(("/", "./", "../", "~")):
        return True
    if name.endswith(_DATA_SUFFIXES) or name.count("/") > 1:
        return True
    return re.fullmatch(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+)?", name) is None


def digest(value: object) -> str:
    """A short, stable name for a JSON value."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def _short(value: object) -> str:
    return number_text(value) if isinstance(value, float) else str(value)


# ---------------------------------------------------------------------- violations
_REPLACED_BY_DIGESTS = (
    "base_model",
    "base_revision",
    "dataset",
    "validation_fraction",
    "test_fraction",
    "split_seed",
)


def _with_placeholders(cls: type[RunConfig], sound: Mapping[str, object]) -> RunConfig:
    """The config with stand-ins for the fields that failed, only for the checks of the others."""
    required = {"model_variant": "Full LoRA", "dataset": "-", "learning_rate": 1e-4}
    return cls.model_validate({**required, **sound})


def _message(item: Any, given: Mapping[str, object]) -> str:
    name = str(item["loc"][0])
    if item["type"] == "missing":
        return f"{name} is missing: {RunConfig.model_fields[name].description}"
    if item["type"] == "extra_forbidden":
        return unknown_name(name, RunConfig.model_fields, "config key")
    text = str(item["msg"]).removeprefix("Value error, ")
    text = text.replace("Input should be", "must be").replace("a valid i", "an i")
    text = text.replace("a valid ", "a ")
    return f"{name} = {shown(given.get(name))}: {text[0].lower()}{text[1:]}"
