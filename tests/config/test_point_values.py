"""Values of a run's config in one form, whichever way they were written."""

import pytest

from agent.config.point_values import as_read
from agent.config.run_config import RunConfig


@pytest.mark.parametrize(
    ("key", "written", "read"),
    [
        ("learning_rate", "2e-4", 0.0002),
        ("learning_rate", " 0.0002", 0.0002),
        ("epochs", "3", 3),
        ("epochs", 3.0, 3),
        ("micro_batch_size", "null", None),
        ("quantization_strategy", None, "None"),
        ("quantization_strategy", "none", "None"),
        ("quantization_method", "none", None),
        ("tuned", "learning_rate, lora_rank", ["learning_rate", "lora_rank"]),
        ("pruner_options", '{"a": 1}', {"a": 1}),
        ("learning_rate", "fast", "fast"),  # refused by the run itself; the table shows it
        ("learning_rate", True, True),
        ("final/avg_f1", "2e-4", "2e-4"),  # not a key of the config
        ("dataset", "1e5", "1e5"),  # text stays text
    ],
)
def test_a_value_is_what_run_config_reads(key: str, written: object, read: object) -> None:
    found = as_read({key: written})[key]
    assert found == read
    assert type(found) is type(read) or found == written


def test_every_key_of_the_config_can_be_read_alone() -> None:
    values = RunConfig.parse(
        {"model_variant": "QLoRA", "quantization_strategy": "int4", "dataset": "d/e"}
        | {"learning_rate": 1e-4}
    ).model_dump(mode="json")
    assert as_read(values) == values
