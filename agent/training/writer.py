"""The writer: advances one training on this process's device, under its lease.

Everything a step depends on (adapter, optimizer, random state, step number) lies in the last
checkpoint, so the same steps give the same bits whoever runs them.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from agent.config import RunConfig
from agent.errors import StoreError, TrainingDiverged
from agent.training import adapters, cost, store
from agent.training.base import Base
from agent.training.lease import Lease
from agent.training.plan import Plan, learning_rate_at
from agent.training.prompts import TrainingSequence

IGNORED = -100  # label of tokens without loss


@dataclass(frozen=True)
class StepLoss:
    """The mean loss per answer token of one optimizer step."""

    step: int
    epoch: float
    loss: float
    learning_rate: float


@dataclass
class Progress:
    """Where a training stands; grows with every step."""

    step: int
    losses: list[StepLoss]  # since the last evaluation point
    cost: cost.Cost


class Writer:
    """Owns model, optimizer and position of one training. Close it to give the lease back."""

    def __init__(
        self,
        config: RunConfig,
        base: Base,
        sequences: Sequence[TrainingSequence],
        plan: Plan,
        step_flops: cost.StepFlops,
        directory: store.TrainingDirectory,
        lease: Lease,
        *,
        run_id: str,
        check_interruption: Callable[[], None],
        on_step: Callable[[StepLoss], None],
    ) -> None:
        self._run_id = run_id
        self._config, self._base, self._sequences, self._plan = config, base, sequences, plan
        self._step_flops, self._directory, self._lease = step_flops, directory, lease
        self._check_interruption, self._on_step = check_interruption, on_step
        self.model = adapters.attach(base.model, config)
        if config.gradient_checkpointing:
            cost.enable_checkpointing(self.model)
        self.weights = adapters.weights(self.model)
        self._optimizer = _make_optimizer(config, self.weights.values())
        self._progress = Progress(0, [], cost.Cost())
        self._rng = _random_state(base.device)
        self._last_saved = time.monotonic()
        if newest := directory.newest_state():
            self._load(newest)

    def advance_to(self, number: int, parent: str) -> store.Checkpoint:
        """Train up to evaluation point `number`, which follows `parent`, and publish it."""
        target = self._plan.point_steps[number - 1]
        device = self._base.device
        self.model.train()
        _set_random_state(self._rng, device)
        cost.reset_peak_memory(device)
        started = time.perf_counter()
        try:
            while self._progress.step < target:
                self._take_step(is_last=self._progress.step + 1 == target)
                self._save_between(parent, started)
        finally:
            started = self._close_segment(started)
        previous = self._plan.point_steps[number - 2] if number > 1 else 0
        self._progress.losses = [x for x in self._progress.losses if x.step > previous]
        point = self._publish(store.point_name(number), parent, number)
        if point.writer != self._lease.token:  # it was there already: go on from what is stored
            self._load(point)
        self._progress.losses = []
        self._directory.drop_steps()
        # Two points keep their state, so that one damaged file costs one stretch, not the training.
        last = number == len(self._plan.point_steps)
        self._directory.drop_states(before=number + 1 if last else number - 1)
        self.model.zero_grad(set_to_none=True)
        return point

    def close(self) -> None:
        self._lease.release()

    # ------------------------------------------------------------------ one step
    def _take_step(self, *, is_last: bool) -> None:
        step = self._progress.step + 1
        rate = learning_rate_at(self._config, step, self._plan.total_steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        batch = [self._sequences[i] for i in self._plan.batch(step)]
        answer_tokens = sum(len(s.input_ids) - s.answer_start for s in batch)
        loss = 0.0
        size = self._config.forward_batch_size
        for start in range(0, len(batch), size):
            part = batch[start : start + size]
            loss += self._forward_backward(part, answer_tokens)
        if not math.isfinite(loss):
            reason = (
                f"the loss became {loss} at step {step} of {self._plan.total_steps} with "
                f"learning_rate = {self._config.learning_rate:g}; try a smaller one"
            )
            self._directory.note_divergence(self._lease, reason)
            raise TrainingDiverged(reason)
        if self._config.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(self.weights.values(), self._config.max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        record = StepLoss(step, self._plan.epoch_of(step), loss, rate)
        self._progress.step = step
        self._progress.losses.append(record)
        if not is_last:  # the point's own step is told with its scores
            self._on_step(record)

    def _forward_backward(self, part: Sequence[TrainingSequence], answer_tokens: int) -> float:
        """Adds the gradients of this part; returns its share of the batch's mean loss."""
        ids, mask, labels = collate(part, self._base.tokenizer.pad_token_id)
        device = self._base.device
        ids, mask, labels = ids.to(device), mask.to(device), labels.to(device)
        logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        loss = functional.cross_entropy(
            logits[:, :-1].float().flatten(0, 1),
            labels[:, 1:].flatten(),
            ignore_index=IGNORED,
            reduction="sum",
        )
        loss = loss / answer_tokens
        loss.backward()
        rows, length = ids.shape
        self._progress.cost = self._progress.cost.plus(
            samples=rows, tokens=rows * length, flops=self._step_flops.of(rows, length)
        )
        return float(loss.detach())

    # ------------------------------------------------------------------ saving and loading
    def _save_between(self, parent: str, started: float) -> None:
        """A step checkpoint when it is time or a signal has come; the latter then ends the run."""
        try:
            self._check_interruption()
        except BaseException:
            self._save_step(parent, started)
            raise
        every_s = self._config.checkpoint_every_min * 60
        if every_s and time.monotonic() - self._last_saved >= every_s:
            self._save_step(parent, started)

    def _save_step(self, parent: str, started: float) -> None:
        open_segment = self._progress.cost
        self._progress.cost = open_segment.with_segment(
            time.perf_counter() - started, self._base.device
        )
        name = store.step_name(self._progress.step)
        self._rng = _random_state(self._base.device)
        self._publish(name, parent, None)
        self._progress.cost = open_segment
        self._directory.drop_steps(keep=name)

    def _close_segment(self, started: float) -> float:
        device = self._base.device
        cost.synchronise(device)
        now = time.perf_counter()
        self._progress.cost = self._progress.cost.with_segment(now - started, device)
        self._rng = _random_state(device)
        return now

    def _publish(self, name: str, parent: str, number: int | None) -> store.Checkpoint:
        self._last_saved = time.monotonic()

        def fill(directory: Path) -> Mapping[str, Any]:
            adapters.save(self.model, directory / "adapter")
            tensors, scalars = _optimizer_state(self._optimizer)
            tensors |= {f"rng.{name}": value for name, value in self._rng.items()}
            save_file(tensors, str(directory / store.TRANSIENT))
            return {
                "run": self._run_id,
                "number": number,
                "step": self._progress.step,
                "epoch": self._plan.epoch_of(self._progress.step),
                "losses": [vars(loss) for loss in self._progress.losses],
                "cost": self._progress.cost.as_json(),
                "optimizer": scalars,
            }

        return self._directory.publish(name, self._lease, parent, fill)

    def _load(self, checkpoint: store.Checkpoint) -> None:
        try:
            adapters.restore(self.model, checkpoint.adapter)
            tensors = load_file(str(checkpoint.state), device=str(self._base.device))
            _restore_optimizer(self._optimizer, tensors, checkpoint.record["optimizer"])
        except (KeyError, ValueError, RuntimeError) as error:
            raise StoreError(f"{checkpoint.path}: does not fit this training: {error}") from error
        self._rng = {n[4:]: t.cpu() for n, t in tensors.items() if n.startswith("rng.")}
        is_point = checkpoint.record["number"] is not None
        losses = [] if is_point else [StepLoss(**loss) for loss in checkpoint.record["losses"]]
        spent = cost.Cost(**checkpoint.record["cost"])
        self._progress = Progress(checkpoint.step, losses, spent)


def collate(
    part: Sequence[TrainingSequence], pad_id: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Right-padded ids, attention mask and labels, each of shape (rows, longest)."""
    longest = max(len(s.input_ids) for s in part)
    ids = torch.full((len(part), longest), pad_id)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, IGNORED)
    for row, sequence in enumerate(part):
        length = len(sequence.input_ids)
        ids[row, :length] = torch.tensor(sequence.input_ids)
        mask[row, :length] = 1
        labels[row, sequence.answer_start : length] = ids[row, sequence.answer_start : length]
    return ids, mask, labels


def _make_optimizer(config: RunConfig, weights: Iterable[torch.Tensor]) -> torch.optim.Optimizer:
    arguments: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    if config.optimizer == "adamw_8bit":
        from bitsandbytes.optim import adamw

        eight_bit: torch.optim.Optimizer = adamw.AdamW8bit(list(weights), **arguments)
        return eight_bit
    return torch.optim.AdamW(list(weights), fused=config.optimizer == "adamw_fused", **arguments)


def _optimizer_state(
    optimizer: torch.optim.Optimizer,
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    tensors: dict[str, torch.Tensor] = {}
    scalars: dict[str, float] = {}
    for index, entry in optimizer.state_dict()["state"].items():
        for name, value in entry.items():
            key = f"optimizer.{index}.{name}"
            if isinstance(value, torch.Tensor):
                tensors[key] = value.contiguous()
            else:
                scalars[key] = value
    return tensors, scalars


def _restore_optimizer(
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, torch.Tensor],
    scalars: Mapping[str, float],
) -> None:
    state: dict[int, dict[str, Any]] = {}
    for key, value in [*tensors.items(), *scalars.items()]:
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _random_state(device: torch.device) -> dict[str, torch.Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _set_random_state(state: Mapping[str, torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
