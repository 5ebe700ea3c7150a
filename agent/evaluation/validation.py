"""Validation: the scores of one evaluation point, as one deployment, once for all runs.

Predictions and scores lie in the store under the evaluation point and the deployment and
evaluation keys; a run that finds them there loads no model.
"""

import hashlib
import json
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from agent.config.run_config import KEY_LENGTH, RunConfig, digest
from agent.errors import DataError, StoreError
from agent.evaluation import scores as scores_of
from agent.evaluation.limits import by_limits
from agent.evaluation.scores import macro_f1
from agent.training import data, prompts, store
from agent.training.data_formats import Example
from agent.training.evaluation_points import EvaluationPoint, Training

if TYPE_CHECKING:
    from agent.evaluation.generation import Answer
    from agent.training.base_model import Base

# Part of every evaluation key: raise it when a score's definition changes.
SCORES_FORMAT = 5
PREDICTIONS = "predictions.jsonl"
PROMPT_HEAD, PROMPT_TAIL = 600, 400  # characters of a prompt that stand beside its answer
SCORES = "scores.json"


@dataclass(frozen=True)
class Prediction:
    """One scored example."""

    example_id: str
    task: str
    dataset: str
    prompt_hash: str
    output: str
    gold: tuple[str, ...]
    score: float  # the headline F1
    exact: float
    substring: float | None
    tokens_out: int
    finish: str  # "stop" or "length"
    source: str = ""  # the document or question that several examples may share
    prompt: str = ""  # what was asked last, cut in its middle: for people who read the answers


# Metrics over all predictions beside the headline ones; None where one does not apply.
Metric = Callable[[Sequence[Prediction]], float | None]


def _query_analysis_macro_f1(predictions: Sequence[Prediction]) -> float | None:
    """Plain accuracy flatters the majority class, which is 9 in 10."""
    chosen = [p for p in predictions if p.task == "query_analysis"]
    if not chosen:
        return None
    return macro_f1((p.output for p in chosen), (p.gold[0] for p in chosen))


def _substring_accuracy(predictions: Sequence[Prediction]) -> float | None:
    values = [p.substring for p in predictions if p.substring is not None]
    return _mean(values) if values else None


METRICS: dict[str, Metric] = {
    "query_analysis_macro_f1": _query_analysis_macro_f1,
    "substring_accuracy": _substring_accuracy,
    "cut_share": lambda predictions: _mean([float(p.finish == "length") for p in predictions]),
    "tokens_out": lambda predictions: _mean([p.tokens_out for p in predictions]),
}


@dataclass(frozen=True)
class Scores:
    """The scores of one evaluation point as one deployment."""

    predictions: tuple[Prediction, ...]
    model_size_gb: float
    seconds: float  # of generation, where it was run
    directory: Path | None = None  # where they lie in the store
    too_long: int = 0  # examples left out, because training leaves such out too

    @property
    def predictions_file(self) -> Path:
        assert self.directory is not None, "only stored scores have files"
        return self.directory / PREDICTIONS

    def by_example(self) -> dict[str, float]:
        return {p.example_id: p.score for p in self.predictions}

    @property
    def f1_score(self) -> float:
        return _mean([p.score for p in self.predictions])

    @property
    def accuracy(self) -> float:
        return _mean([p.exact for p in self.predictions])

    def f1_by_dataset(self) -> dict[str, float]:
        groups: dict[str, list[float]] = {}
        for p in self.predictions:
            groups.setdefault(p.dataset, []).append(p.score)
        return {name: _mean(values) for name, values in sorted(groups.items())}

    @property
    def avg_f1(self) -> float:
        """The mean over data sets, each counting the same."""
        return _mean(list(self.f1_by_dataset().values()))

    def metrics(self) -> dict[str, float]:
        """Every metric by name, without the group in front."""
        named: dict[str, float | None] = {
            "f1_score": self.f1_score,
            "accuracy": self.accuracy,
            "avg_f1": self.avg_f1,
            **{f"f1_{name}": value for name, value in self.f1_by_dataset().items()},
            **{name: metric(self.predictions) for name, metric in METRICS.items()},
        }
        return {name: value for name, value in named.items() if value is not None}


def evaluation_digest(config: RunConfig, validation_digest: str, prompts_digest: str) -> str:
    """What was asked, in which words, and how it was scored: equal for runs whose scores may be
    compared."""
    return config.evaluation_key(
        {
            "validation": validation_digest,
            "prompts": prompts_digest,
            "prompt_format": prompts.PROMPT_FORMAT,
            "scores_format": SCORES_FORMAT,
        }
    )


def digest_of_examples(config: RunConfig, base: Path, examples: Sequence[Example]) -> str:
    """`evaluation_digest` of examples as the base model at `base` reads them."""
    from agent.training.base_model import load_tokenizer

    tokenizer = load_tokenizer(base, trust_remote_code=config.trust_remote_code)
    asked = data.digest_of(examples, with_ids=True)
    return evaluation_digest(config, asked, prompts.digest_of(tokenizer, examples))


def _evaluation_of(training: Training, config: RunConfig) -> str:
    return evaluation_digest(config, training.data.validation_digest, training.validation_prompts)


def identity(training: Training) -> dict[str, str]:
    """What has to agree between runs whose scores are compared, and where they ran."""
    environment = training.environment
    return {
        "training/key": training.key,
        "base/digest": str(environment["base"]),
        "data/digest": training.data.train_digest,
        "evaluation/digest": _evaluation_of(training, training.config),
        "hardware/gpu": training.device_facts.name,
    }


def score_point(
    training: Training,
    point: EvaluationPoint,
    check_interruption: Callable[[], None] = lambda: None,
) -> Scores:
    """The scores of `point` as the config's deployment, from the store or made and stored now.

    The training's memory has been read before, so the peak starts afresh here and after.
    """
    return score_as(training.config, training, point, check_interruption)


def score_as(
    config: RunConfig,
    training: Training,
    point: EvaluationPoint,
    check_interruption: Callable[[], None] = lambda: None,
) -> Scores:
    """`score_point` with the deployment of another `config` that needs the same training."""
    evaluation = _evaluation_of(training, config)
    place = point.directory / "scores" / digest([config.deployment_key(), evaluation])
    if store.is_whole(place):
        return read_scores(place)
    store.set_aside_if_damaged(place)
    if not point.adapter.is_dir():
        raise StoreError(
            f"{point.adapter}: was removed by `sweep-agent store gc`, and these scores were never "
            f"made; remove {point.directory.parent.name} from the store to train it again"
        )
    from agent.training import device_memory

    device_memory.reset_peak_memory(training.device)
    scores = score_adapter(
        config,
        training.base,
        point.adapter,
        training.data.validation,
        calibration=training.data.train,
        check_interruption=check_interruption,
    )
    store.publish_directory(place, lambda directory: write_scores(directory, scores))
    device_memory.reset_peak_memory(training.device)
    return replace(scores, directory=place)


def score_adapter(
    config: RunConfig,
    base: "Base",
    adapter: Path | None,
    examples: Sequence[Example],
    *,
    calibration: Sequence[Example] = (),
    check_interruption: Callable[[], None] = lambda: None,
) -> Scores:
    """Deploy `adapter` (None: the untouched base), answer every example that `max_length` admits
    and score the answers. The deployment is gone afterwards, whatever happens."""
    from agent.evaluation import cpu_layers, deployments, generation
    from agent.training import device_memory

    kept, encoded = within_length(config, base.tokenizer, examples)
    started = time.perf_counter()
    model = deployments.deploy(base, adapter, config.variant, calibration)
    try:
        size_gb = deployments.model_size_gb(model)
        cpu_layers.hasten(model)
        answers: dict[int, Answer] = {}
        for chosen, limits in by_limits(config, [example.task for example in kept]):
            said = generation.generate(
                model,
                base.tokenizer,
                [encoded[i] for i in chosen],
                batch_size=config.eval_batch_size,
                max_new_tokens=limits.new_tokens,
                token_budget=config.eval_batch_size * limits.total,
                check_interruption=check_interruption,
            )
            answers.update(zip(chosen, said, strict=True))
    finally:
        del model
        device_memory.release(base.device)
    predictions = tuple(
        score_answer(example, encoded[i], answers[i]) for i, example in enumerate(kept)
    )
    seconds = time.perf_counter() - started
    return Scores(predictions, size_gb, seconds, too_long=len(examples) - len(kept))


def within_length(
    config: RunConfig, tokenizer: Any, examples: Sequence[Example]
) -> tuple[list[Example], list[Sequence[int]]]:
    """The examples that training would keep, with their prompts: what is too long to be learned is
    not asked either. DataError when none is left."""
    kept, encoded = [], []
    for example in examples:
        prompt, length = _read(tokenizer, example)
        if length <= config.length_limit(example.task):
            kept.append(example)
            encoded.append(prompt)
    if not kept:
        raise DataError(
            f"none of the {len(examples)} examples to score fits into max_length = "
            f"{config.longest_length} tokens with its answer; raise it"
        )
    return kept, encoded


# By tokenizer: every evaluation point and deployment asks the same. As arrays, since a list takes
# nine times as much.
_READ: "WeakKeyDictionary[Any, dict[Example, tuple[Sequence[int], int]]]" = WeakKeyDictionary()


def _read(tokenizer: Any, example: Example) -> tuple[Sequence[int], int]:
    """The prompt's token ids, and the length that prompt, answer and end token have together."""
    known = _READ.setdefault(tokenizer, {})
    if example not in known:
        prompt = array("i", prompts.prompt_ids(tokenizer, example.messages))
        answer = prompts.answer_ids(tokenizer, example.answers[0])
        known[example] = prompt, len(prompt) + len(answer)
    return known[example]


def score_answer(example: Example, prompt: Sequence[int], answer: "Answer") -> Prediction:
    score = scores_of.score(example.task, answer.text, example.answers, example.messages[-1][1])
    return Prediction(
        example_id=example.id,
        task=example.task,
        dataset=example.dataset,
        prompt_hash=hash_prompt(prompt),
        output=answer.text,
        gold=example.answers,
        score=score.f1,
        exact=score.exact,
        substring=score.substring,
        tokens_out=answer.tokens_out,
        finish=answer.finish,
        source=example.source,
        prompt=shortened(example.messages[-1][1]),
    )


def shortened(text: str) -> str:
    """A prompt's beginning and end: between them stand its documents."""
    if len(text) <= PROMPT_HEAD + PROMPT_TAIL:
        return text
    return f"{text[:PROMPT_HEAD]} […] {text[-PROMPT_TAIL:]}"


def hash_prompt(prompt: Sequence[int]) -> str:
    """Names a prompt by its token ids, so that a changed template shows."""
    return hashlib.sha256(json.dumps(list(prompt)).encode()).hexdigest()[:KEY_LENGTH]


def write_scores(directory: Path, scores: Scores) -> None:
    lines = (json.dumps(asdict(p), ensure_ascii=False) for p in scores.predictions)
    (directory / PREDICTIONS).write_text("".join(f"{line}\n" for line in lines))
    summary: Mapping[str, Any] = {
        "model_size_gb": scores.model_size_gb,
        "seconds": scores.seconds,
        "too_long_examples": scores.too_long,
        "metrics": scores.metrics(),
    }
    (directory / SCORES).write_text(json.dumps(summary, indent=1))


def read_scores(directory: Path) -> Scores:
    # Not splitlines: an answer may hold a line separator of Unicode, which JSON leaves as it is.
    lines = (directory / PREDICTIONS).read_text().split("\n")[:-1]
    rows = (json.loads(line) for line in lines)
    predictions = tuple(Prediction(**{**row, "gold": tuple(row["gold"])}) for row in rows)
    summary = json.loads((directory / SCORES).read_text())
    return Scores(
        predictions,
        summary["model_size_gb"],
        summary["seconds"],
        directory,
        summary.get("too_long_examples", 0),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
