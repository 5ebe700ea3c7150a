"""The smallest real trainings: the shipped base model on a few examples of its own world."""

import json
import os
import signal
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from agent.config.run_config import RunConfig
from agent.demo.data import TASKS, make_examples
from agent.training.lease import Lease, Observer

if TYPE_CHECKING:
    from agent.training.evaluation_points import EvaluationPoint, Training

BASE_MODEL = Path(__file__).parents[2] / "agent/demo/assets/base_model"

# (model_variant, quantization_strategy) of the five cells.
CELLS: tuple[tuple[str, str], ...] = (
    ("Full LoRA", "None"),
    ("LoRA+PTQ", "int8"),
    ("LoRA+PTQ", "int4"),
    ("QLoRA", "int4"),
    ("QLoRA", "int8"),
)


def write_examples(directory: Path, per_task: int = 16) -> Path:
    """The demo's three files, cut to `per_task` examples each."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in TASKS:
        rows = make_examples(name)[:per_task]
        (directory / name).write_text(json.dumps(rows, indent=1))
    return directory


def make_config(root: Path, **values: Any) -> RunConfig:
    """A config with two evaluation points of four steps each on the examples under `root`."""
    data = root / "data"
    if not data.exists():
        write_examples(data)
    defaults = {
        "model_variant": "Full LoRA",
        "base_model": str(BASE_MODEL),
        "dataset": str(data),
        "validation_fraction": 0.25,
        "test_fraction": 0.1,
        "learning_rate": 5e-3,
        "epochs": 2,
        "batch_size": 8,
        "lora_rank": 4,
        "lora_alpha": 8,
        "lora_dropout": 0.1,
        "max_length": 128,
        # Short answers make short tests; the references of document structuring are longer.
        "max_new_tokens": 16,
        "max_left_out_share": 1.0,
        "eval_batch_size": 16,
        "store": str(root / "store"),
        "device": "cpu",
    }
    return RunConfig.parse({**defaults, **values})


def write_lines(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def open_training(
    root: Path, values: Mapping[str, Any] | None = None, **options: Any
) -> "Training":
    """The training of a config under `root`; `values` change its config."""
    from agent.training import data
    from agent.training.evaluation_points import Training
    from agent.training.facts.hooks import Hooks

    config = make_config(root, **(values or {}))
    counts = Path(config.store) / "flops"  # counted once for all tests: it takes longest
    counts.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):  # the processes of a team come here at the same time
        counts.symlink_to(shared_counts())
    run_id = options.pop("run_id", "")
    hooks = Hooks(**options)
    return Training(config, data.load(config), run_id=run_id, hooks=hooks, poll_s=0.05)


@cache
def shared_counts() -> Path:
    return Path(tempfile.mkdtemp(prefix="flops-"))


def run_through(training: "Training") -> None:
    for _ in training.points():
        pass


def losses_of(points: Iterable["EvaluationPoint"]) -> list[tuple[int, float]]:
    return [(loss.step, loss.loss) for point in points for loss in point.losses]


def weights_of(point: Path) -> dict[str, Any]:
    """The adapter of an evaluation point by tensor name."""
    from safetensors.torch import load_file

    return dict(load_file(point / "adapter" / "adapter_model.safetensors"))


def tensors_of(point: Path) -> dict[str, Any]:
    """All tensors of an evaluation point: adapter, optimizer and random state."""
    from safetensors.torch import load_file

    return {**weights_of(point), **load_file(point / "state.safetensors")}


def assert_equal_bits(place: Path, other: Path) -> None:
    import torch

    first, second = tensors_of(place), tensors_of(other)
    assert set(first) == set(second)
    differing = [name for name in first if not torch.equal(first[name], second[name])]
    assert not differing


def run_guarded(work: Callable[[], None]) -> int:
    """0 when `work` ends, 1 when it raises; what it raised is printed."""
    try:
        work()
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked process, which needs no imports; its wait status as an exit code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads, from 3.12 on
        pid = os.fork()
    if pid == 0:
        os._exit(run_guarded(work))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def take_over(training: Path) -> Lease:
    """Its lease, from a holder that gives signs of life: taken between two of them."""
    watcher = Observer(training, patience_s=-1)
    return next(lease for _ in range(1000) if (lease := watcher.try_acquire()))


def kill_at(step: int) -> Callable[[Any], None]:
    """An `on_step` that ends the process, without any goodbye, once `step` is done."""

    def on_step(loss: Any) -> None:
        if loss.step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return on_step


def undetected_damages(path: Path, count: int, seed: int) -> list[str]:
    """Damage each file in turn, `count` truncations and `count` flipped bits; what went unseen."""
    from agent.training import store

    rng = Random(seed)
    names = sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())
    unseen = []
    for turn in range(2 * count):
        file = path / names[turn // 2 % len(names)]
        content = file.read_bytes()
        if turn % 2:
            at = rng.randrange(len(content) * 8)
            changed = bytearray(content)
            changed[at // 8] ^= 1 << at % 8
            file.write_bytes(changed)
        else:
            at = rng.randrange(len(content))
            file.write_bytes(content[:at])
        if store.read_checkpoint(path) is not None:
            unseen.append(f"{file.name} {'bit' if turn % 2 else 'length'} {at}")
        file.write_bytes(content)
    assert store.read_checkpoint(path) is not None
    return unseen


def first_point(root: Path) -> Path:
    """The place of a real evaluation point that still has its state."""
    following = open_training(root).points()
    place = next(following).directory
    following.close()
    return place
