"""The full counts of what the training store promises. `main()` returns the figures.

    python -m tests.prove training        also writes them down

Processes are forked from one that has the libraries loaded, so that hundreds of kills cost
seconds. The normal tests run the same functions with small counts.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from agent import files
from agent.training.store import TrainingDirectory, read_checkpoint
from tests.training import duels, lab

HERE = Path(__file__).parent
KILLS, KILLS_IN_A_SAVE = 50, 12
DAMAGES = 100
DUELS, REAL_DUELS = 100, 3
DEMO_SIZE = {"batch_size": 32, "lora_rank": 16, "lora_alpha": 32, "epochs": 3}
EVERY_STEP = {"checkpoint_every_min": 1e-9}  # so an interval is one step


def main() -> dict[str, object]:
    import torch

    from agent.log_noise import quieten_libraries

    quieten_libraries()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        return {
            **prove_kills(root / "kills", KILLS, KILLS_IN_A_SAVE),
            **prove_damages(root / "damages", DAMAGES),
            **prove_duels(root / "duels", DUELS, REAL_DUELS),
            **prove_sharing(root / "sharing"),
            **prove_overhead(root / "demo_size"),
            **prove_batched_validation(root / "demo_size", 256),
        }


# ---------------------------------------------------------------------- killed at any moment
def prove_kills(root: Path, count: int, in_a_save: int) -> dict[str, object]:
    """Kill a training at random moments, some inside a save; resume; compare every bit."""
    lab.first_point(root / "warm")  # imports and counts FLOPs here, so that no child has to
    reference = root / "reference"
    started = time.monotonic()
    _train(reference, None)
    whole_s = time.monotonic() - started
    rng = Random(7)
    equal, most_repeated, missed = 0, 0, 0
    for turn in range(count):
        place, moment = root / f"{turn}", rng.random()
        while not (
            _train(place, _kill_in_save(1 + int(moment * 60)))
            if turn < in_a_save
            else _train(place, None, kill_after_s=moment * whole_s)
        ):
            missed += 1  # it had ended before: again, earlier
            moment /= 2
            shutil.rmtree(place)
        _train(place, None)
        equal += _are_equal(reference, place)
        most_repeated = max(most_repeated, _repeated_steps(place))
    return {
        "kills": count,
        "kills/inside_a_save": in_a_save,
        "kills/too_late_and_tried_again": missed,
        "kills/resumed_to_the_same_bits": equal,
        "kills/most_steps_repeated": most_repeated,
    }


def _train(
    root: Path, in_save: Callable[[], None] | None, kill_after_s: float | None = None
) -> bool:
    """Train in a child that is killed as asked; True when it really was."""
    lab.make_config(root)  # writes the data here: a kill is to hit the training

    def work() -> None:
        if in_save:
            in_save()
        if kill_after_s is not None:
            timer = threading.Timer(kill_after_s, os.kill, (os.getpid(), signal.SIGKILL))
            timer.daemon = True
            timer.start()
        training = lab.open_training(root, EVERY_STEP)
        TrainingDirectory.drop_states = lambda *_, **__: None  # type: ignore[method-assign]  # all are kept
        _log_steps(root)
        lab.run_through(training)

    return lab.in_child(work) == -signal.SIGKILL


def _kill_in_save(call: int) -> Callable[[], None]:
    """End the process at the `call`th time that a file of a checkpoint is synced."""

    def install() -> None:
        left, sync = [call], files.sync_file

        def count(path: Path) -> None:
            left[0] -= "writing-" in str(path)
            if left[0] <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            sync(path)

        files.sync_file = count

    return install


def _log_steps(root: Path) -> None:
    from agent.training.trainer import Trainer

    take_step = Trainer._take_step

    def logged(self: Any, *, is_last: bool) -> None:
        take_step(self, is_last=is_last)
        with (root / "steps.log").open("a") as stream:
            stream.write(f"{self._progress.step}\n")

    Trainer._take_step = logged  # type: ignore[method-assign]  # steps are counted


def _repeated_steps(root: Path) -> int:
    steps = (root / "steps.log").read_text().split()
    return len(steps) - len(set(steps))


def _are_equal(first: Path, second: Path) -> bool:
    """Adapters, optimizer state, random state and losses of every evaluation point."""
    pairs = [sorted((root / "store").glob("*/eval-*")) for root in (first, second)]
    if len(pairs[0]) != len(pairs[1]):
        return False
    for place, other in zip(*pairs, strict=True):
        lab.assert_equal_bits(place, other)
        records = [json.loads((p / "record.json").read_text()) for p in (place, other)]
        if records[0]["losses"] != records[1]["losses"]:
            return False
    return True


# ---------------------------------------------------------------------- damaged on disk
def prove_damages(root: Path, count: int) -> dict[str, object]:
    """Truncate and flip bits of a real checkpoint; whatever is read must be unpickled nowhere."""
    point = lab.first_point(root)
    unpickled: list[str] = []
    sys.addaudithook(lambda event, _: unpickled.append(event) if "pickle" in event else None)
    before = len(unpickled)
    unseen = lab.undetected_damages(point, count, seed=3)
    assert read_checkpoint(point) is not None
    return {
        "damages/truncations": count,
        "damages/flipped_bits": count,
        "damages/undetected": len(unseen),
        "damages/objects_unpickled": len(unpickled) - before,
    }


# ---------------------------------------------------------------------- two at the same instant
def prove_duels(root: Path, count: int, real: int) -> dict[str, object]:
    """Two claimants at one instant: one writes every point, the other reads the same."""
    one_writer = sum(duels.fight(root / f"{turn}", duels.stub_training) for turn in range(count))
    duels.shared_data()
    really = sum(duels.fight(root / f"real-{turn}", duels.real_training) for turn in range(real))
    return {
        "duels": count,
        "duels/one_trained_the_other_followed": one_writer,
        "duels/real": real,
        "duels/real_one_trained_the_other_followed": really,
    }


# ---------------------------------------------------------------------- shared
def prove_sharing(root: Path) -> dict[str, object]:
    """Five cells at three learning rates, as the demo has them."""
    executed: set[str] = set()
    hashes: dict[tuple[str, float], set[str]] = {}
    for variant, strategy in lab.CELLS:
        for rate in (5e-4, 5e-3, 2e-2):
            values = {
                "model_variant": variant,
                "quantization_strategy": strategy,
                "learning_rate": rate,
                "epochs": 1,
            }
            training = lab.open_training(root, values, run_id=f"{variant} {strategy} {rate}")
            points = list(training.points())
            executed.add(points[-1].run_id)
            digest = files.sha256_of(points[-1].adapter / "adapter_model.safetensors")
            hashes.setdefault((training.config.variant.training_precision, rate), set()).add(digest)
    return {
        "sharing/grid_points": 15,
        "sharing/trainings_executed": len(executed),
        "sharing/most_adapters_of_one_training": max(map(len, hashes.values())),
    }


# ---------------------------------------------------------------------- what it costs
def prove_overhead(root: Path) -> dict[str, object]:
    """Seconds inside the store over seconds of training, at the size of the demo."""
    from agent.training import store

    spent, publish = [0.0], store.TrainingDirectory.publish

    def timed(self: Any, *arguments: Any) -> Any:
        started = time.perf_counter()
        try:
            return publish(self, *arguments)
        finally:
            spent[0] += time.perf_counter() - started

    store.TrainingDirectory.publish = timed  # type: ignore[method-assign, assignment]  # timed
    try:
        lab.write_examples(root / "data", per_task=400)
        points = list(lab.open_training(root, DEMO_SIZE).points())
    finally:
        store.TrainingDirectory.publish = publish  # type: ignore[method-assign]  # the original
    return {
        "store/training_seconds": round(points[-1].cost.train_seconds, 2),
        "store/overhead_share": round(spent[0] / points[-1].cost.train_seconds, 4),
    }


def prove_batched_validation(root: Path, count: int) -> dict[str, object]:
    """The same questions in batches and one by one, side by side in one process, to the newest
    adapter under `root` (an untouched base ends most answers at once)."""
    import torch

    from agent.evaluation import deployments, generation
    from agent.training import base_model, data, prompts

    config = lab.make_config(root, compute_dtype="float32")
    loaded = base_model.load(config, lab.BASE_MODEL, "16bit", torch.device("cpu"))
    adapter = max(root.glob("store/*/eval-*/adapter"), default=None)
    model = deployments.deploy(loaded, adapter, config.variant)
    folder = lab.write_examples(root / "questions", per_task=-(-count // 3))
    examples = data.read(str(folder))[:count]
    encoded = [prompts.prompt_ids(loaded.tokenizer, e.messages) for e in examples]
    seconds, answers = [], []
    for batch_size in (64, 1):
        started = time.perf_counter()
        answers.append(
            generation.generate(
                model, loaded.tokenizer, encoded, batch_size=batch_size, max_new_tokens=32
            )
        )
        seconds.append(time.perf_counter() - started)
    return {
        "validation/examples": len(examples),
        "validation/tokens_out_mean": round(sum(a.tokens_out for a in answers[0]) / count, 1),
        "validation/speed_ratio": round(seconds[1] / seconds[0], 1),
        "validation/examples_with_other_tokens": sum(a != b for a, b in zip(*answers, strict=True)),
    }


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
