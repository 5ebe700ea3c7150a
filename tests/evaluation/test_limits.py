from pathlib import Path
from typing import Any

import torch

from agent.evaluation import validation
from agent.evaluation.limits import Limits, by_limits
from agent.training import base_model, data
from tests.training import lab

TASKS = ("qa", "document_structuring", "qa", "global_selection", "document_structuring")


def test_tasks_of_equal_limits_are_answered_together_the_longest_first(tmp_path: Path) -> None:
    config = lab.make_config(
        tmp_path,
        max_length=100,
        max_length_by_task={"document_structuring": 400, "global_selection": 100},
        max_new_tokens=10,
        max_new_tokens_by_task={"document_structuring": 200},
    )
    assert by_limits(config, TASKS) == [
        ([1, 4], Limits(400, 200)),
        ([0, 2, 3], Limits(100, 10)),
    ]
    assert by_limits(config, []) == []


def test_an_answer_is_cut_at_its_own_task_s_limit(tmp_path: Path) -> None:
    def scored(**limits: Any) -> dict[str, validation.Prediction]:
        config = lab.make_config(tmp_path, **limits)
        path = Path(config.base_model)
        base = base_model.load(config, path, "16bit", torch.device("cpu"))
        examples = data.load(config).validation
        scores = validation.score_adapter(config, base, None, examples)
        assert [p.example_id for p in scores.predictions] == [e.id for e in examples]
        return {p.example_id: p for p in scores.predictions}

    short = scored(max_new_tokens=2)
    mixed = scored(max_new_tokens=2, max_new_tokens_by_task={"document_structuring": 9})
    for name, prediction in mixed.items():
        limit = 9 if prediction.task == "document_structuring" else 2
        assert prediction.tokens_out <= limit
        if limit == 2:
            assert prediction == short[name]
        else:
            assert prediction.output.startswith(short[name].output)
    assert max(p.tokens_out for p in mixed.values()) > 2
