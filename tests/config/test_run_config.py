"""RunConfig: one number however it is written, and every fault in one message."""

import math
from typing import Any

import pytest

from agent.config import variants
from agent.config.run_config import RunConfig, is_path
from agent.errors import ConfigError

GOOD: dict[str, Any] = {
    "model_variant": "QLoRA",
    "quantization_strategy": "int4",
    "learning_rate": 1e-4,
    "dataset": "data.json",
}
ENVIRONMENT = {"base": "b", "data": "d"}


def parse(**changes: object) -> RunConfig:
    return RunConfig.parse({**GOOD, **changes})


def problems_of(**changes: object) -> tuple[str, ...]:
    with pytest.raises(
        ConfigError, match=r"^(the configuration: |[0-9]+ problems in the configuration:)"
    ) as caught:
        parse(**changes)
    return caught.value.problems


@pytest.mark.parametrize("written", [1e-4, "1e-4", "0.0001", "1E-4", " 1e-4 "])
def test_a_learning_rate_is_the_same_number_however_it_is_written(written: object) -> None:
    config = parse(learning_rate=written)
    assert config == parse()
    assert config.training_key(ENVIRONMENT) == parse().training_key(ENVIRONMENT)
    assert config.display_name() == parse().display_name()


def test_all_five_cells_and_no_other_pair_are_valid() -> None:
    valid = set()
    for variant in variants.model_variants():
        for strategy in variants.quantization_strategies():
            problems, _ = RunConfig.violations(
                {**GOOD, "model_variant": variant, "quantization_strategy": strategy}
            )
            if not problems:
                valid.add((variant, strategy))
    assert valid == {
        ("Full LoRA", "None"),
        ("QLoRA", "int4"),
        ("QLoRA", "int8"),
        ("LoRA+PTQ", "int8"),
        ("LoRA+PTQ", "int4"),
    }


@pytest.mark.parametrize("written", [None, "None", "none", "null"])
def test_no_quantisation_can_be_written_as_null_or_as_a_word(written: object) -> None:
    config = parse(model_variant="Full LoRA", quantization_strategy=written)
    assert config.quantization_strategy == "None"


def test_two_faults_in_one_call_are_both_named() -> None:
    problems = problems_of(model_variant="Full LoRA", learning_rate=0)
    assert len(problems) == 2
    assert any("learning_rate = 0" in text for text in problems)
    assert any("'Full LoRA' cannot be combined with" in text for text in problems)


def test_every_fault_is_named_at_once() -> None:
    problems = "\n".join(
        problems_of(
            quantization_strategy="int3",
            learning_rate="fast",
            epochs=0,
            batch_size=8,
            micro_batch_size=3,
            pruner="medain",
            learning_rat=1,
        )
    )
    for part in (
        "quantization_strategy = 'int3': must be one of 'None', 'int4', 'int8'",
        "learning_rate = 'fast': is not a number",
        "epochs = 0: must be greater than or equal to 1",
        "micro_batch_size = 3: must divide batch_size = 8",
        "unknown pruner 'medain'; did you mean 'median'?",
        "unknown config key 'learning_rat'; did you mean 'learning_rate'?",
    ):
        assert part in problems


@pytest.mark.parametrize("value", [0, -1e-4, "0", math.nan, math.inf, "nan", True, "on", [1], None])
def test_a_learning_rate_that_is_no_positive_number_is_refused(value: object) -> None:
    assert [text for text in problems_of(learning_rate=value) if "learning_rate" in text]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": 1.5}, "epochs = 1.5"),
        ({"epochs": 1, "eval_every": 2}, "no evaluation point would be reached"),
        ({"validation_fraction": 0}, "needs a validation_dataset"),
        ({"validation_fraction": 0.6, "test_fraction": 0.5}, "leave nothing to train on"),
        ({"max_length": 64, "max_new_tokens": 64}, "leaves no room for the prompt"),
        ({"tuned": ["model_variant"]}, "the variant makes the stratum"),
        ({"tuned": ["lerning_rate"]}, "did you mean 'learning_rate'?"),
        ({"tuned": []}, "name at least one key"),
        ({"adapter_method": "lore"}, "unknown adapter_method 'lore'; did you mean 'lora'?"),
        ({"quantization_method": "llm_int8"}, "QLoRA with int4 takes 'nf4'"),
        ({"pruner_options": "{"}, "is not JSON"),
        ({"max_length_by_task": {"q_a": 64}}, "unknown task 'q_a'; did you mean 'qa'?"),
        ({"max_length_by_task": {"qa": 7}}, "max_length_by_task: qa = 7: must be at least 8"),
        ({"max_new_tokens_by_task": {"qa": 0}}, "qa = 0: must be at least 1"),
        ({"max_new_tokens_by_task": {"qa": 2048}}, "2048 of qa leaves no room for the prompt"),
        ({"max_length_by_task": {"qa": 256}}, "leaves no room for the prompt in its max_length"),
        ({"max_length_by_task": {"qa": "long"}}, "max_length_by_task = {'qa': 'long'}"),
        ({"max_length_by_task": "25000"}, "max_length_by_task = '25000'"),
        ({"model_variant": "qlora"}, "must be one of 'Full LoRA', 'QLoRA', 'LoRA+PTQ'"),
    ],
)
def test_a_wrong_value_is_refused_and_the_message_says_why(
    changes: dict[str, object], words: str
) -> None:
    assert any(words in text for text in problems_of(**changes))


def test_a_task_may_have_limits_of_its_own() -> None:
    limits = {"document_structuring": 25000}
    config = parse(max_length_by_task=limits, max_new_tokens_by_task='{"qa": "64"}')
    assert [config.length_limit(t) for t in ("qa", "document_structuring")] == [2048, 25000]
    assert [config.answer_limit(t) for t in ("qa", "document_structuring")] == [64, 256]
    assert config.longest_length == 25000
    assert parse(max_length_by_task="{'document_structuring': 25000}").max_length_by_task == limits
    assert parse(max_length_by_task=limits, task="qa").longest_length == 2048
    assert config.training_key({}) != parse().training_key({})
    assert parse(max_new_tokens_by_task={"qa": 64}).training_key({}) == parse().training_key({})
    assert parse(max_new_tokens_by_task={"qa": 64}).evaluation_key({}) != parse().evaluation_key({})


def test_a_missing_field_says_what_it_is_for() -> None:
    problems, _ = RunConfig.violations({})
    assert "learning_rate is missing: peak learning rate of AdamW" in problems


def test_keys_of_wandb_itself_are_ignored() -> None:
    assert RunConfig.parse({**GOOD, "_wandb": {"t": 1}}) == parse()


def test_cells_that_train_alike_share_one_training_key() -> None:
    def key(variant: str, strategy: str) -> str:
        config = parse(model_variant=variant, quantization_strategy=strategy)
        return config.training_key(ENVIRONMENT)

    shared = {key("Full LoRA", "None"), key("LoRA+PTQ", "int8"), key("LoRA+PTQ", "int4")}
    assert len(shared) == 1
    assert len({*shared, key("QLoRA", "int4"), key("QLoRA", "int8")}) == 3


@pytest.mark.parametrize(
    "changes", [{"seed": 1}, {"lora_rank": 8}, {"batch_size": 4}, {"learning_rate": 2e-4}]
)
def test_what_changes_the_adapter_changes_the_training_key(changes: dict[str, object]) -> None:
    assert parse(**changes).training_key(ENVIRONMENT) != parse().training_key(ENVIRONMENT)


@pytest.mark.parametrize(
    "changes", [{"max_new_tokens": 8}, {"eval_examples": 5}, {"log_every_steps": 1}, {"store": "x"}]
)
def test_what_does_not_change_the_adapter_keeps_the_training_key(
    changes: dict[str, object],
) -> None:
    assert parse(**changes).training_key(ENVIRONMENT) == parse().training_key(ENVIRONMENT)


def test_moved_data_with_equal_contents_keeps_the_training_key() -> None:
    moved = parse(dataset="elsewhere.json", base_model="./copy")
    assert moved.training_key(ENVIRONMENT) == parse().training_key(ENVIRONMENT)
    assert moved.training_key({**ENVIRONMENT, "data": "x"}) != parse().training_key(ENVIRONMENT)


def test_a_stratum_is_everything_but_the_tuned_keys() -> None:
    assert parse(learning_rate=3e-4).stratum_key() == parse().stratum_key()
    assert parse(seed=1).stratum_key() != parse().stratum_key()
    assert parse(log_every_steps=7).stratum_key() == parse().stratum_key()
    tuned = parse(tuned="learning_rate,seed")
    assert tuned.stratum_key() == parse(tuned="learning_rate,seed", seed=1).stratum_key()


def test_the_run_name_contains_every_swept_key() -> None:
    name = parse().display_name(["learning_rate", "seed", "lora_rank", "model_variant"])
    assert name == "QLoRA int4 lr=0.0001 seed=0 r=16"
    small = parse(learning_rate=3e-5)
    assert small.display_name() == "QLoRA int4 lr=3e-5"  # as every table writes it


def test_local_files_that_do_not_exist_are_named(tmp_path: Any) -> None:
    there = tmp_path / "there.json"
    there.write_text("[]")
    config = parse(dataset=f"{there},{tmp_path}/gone.jsonl", base_model="Qwen/Qwen2.5-3B-Instruct")
    assert len(config.missing_files()) == 1
    assert "gone.jsonl" in config.missing_files()[0]
    problems, _ = RunConfig.violations(
        {**GOOD, "dataset": str(tmp_path / "gone.json"), "learning_rate": -1}, files=True
    )
    assert len(problems) == 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Qwen/Qwen2.5-3B-Instruct", False),
        ("gpt2", False),
        ("./model", True),
        ("/data/x", True),
        ("train.jsonl", True),
        ("a/b/c", True),
    ],
)
def test_paths_and_hub_ids_are_distinguished(name: str, expected: bool) -> None:
    assert is_path(name) is expected


@pytest.mark.parametrize(
    ("batch", "micro", "expected"),
    [(8, None, 4), (8, 4, 2), (12, 6, 3), (9, None, 3), (4, 1, None)],
)
def test_smaller_passes_divide_the_same_batch(
    batch: int, micro: int | None, expected: int | None
) -> None:
    smaller = parse(batch_size=batch, micro_batch_size=micro).with_smaller_passes()
    assert (smaller and smaller.micro_batch_size) == expected
    assert smaller is None or smaller.batch_size == batch
