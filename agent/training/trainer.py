"""The writer: advances one training on this process's device, under its lease.

Everything a step depends on (adapter, optimizer, random state, step number) lies in the last
checkpoint, so the same steps give the same bits whoever runs them.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from agent.config.run_config import RunConfig
from agent.errors import OutOfMemory, StoreError, TrainingDiverged
from agent.training import adapters, cost, optimizer_state, store
from agent.training.base_model import Base
from agent.training.data_parallel import Team
from agent.training.lease import Lease
from agent.training.prompts import TrainingSequence
from agent.training.schedule import Plan, learning_rate_at

IGNORED = -100  # label of tokens without loss


@dataclass(frozen=True)
class StepLoss:
    """The mean loss per answer token of one optimizer step."""

    step: int
    epoch: float
    loss: float
    learning_rate: float


@dataclass(frozen=True)
class Hooks:
    """What a training calls back. Each is called in the process that trains, between two steps."""

    check: Callable[[], None] = lambda: None  # raises what ends the training; the state is saved
    on_step: Callable[[StepLoss], None] = lambda _: None
    on_model: Callable[[torch.nn.Module], None] = lambda _: None  # the model, before its first step
    idle: Callable[[], bool] = lambda: False  # something useful while another run trains; True: did


NO_HOOKS = Hooks()


@dataclass
class Progress:
    """Where a training stands; grows with every step."""

    step: int
    losses: list[StepLoss]  # since the last evaluation point
    cost: cost.Cost


class HelperStopped(Exception):
    """The run has been interrupted; its helpers wait for what comes next."""


class Writer:
    """Owns model, optimizer and position of one training. Close it to give the lease back.

    `start` is the checkpoint it goes on from. Without a lease it is a helper of the team.
    """

    def __init__(
        self,
        config: RunConfig,
        base: Base,
        sequences: Sequence[TrainingSequence],
        plan: Plan,
        step_flops: cost.StepFlops,
        directory: store.TrainingDirectory,
        lease: Lease | None,
        team: Team,
        *,
        start: store.Checkpoint | None,
        run_id: str,
        hooks: Hooks,
    ) -> None:
        self._run_id = run_id
        self._config, self._base, self._sequences, self._plan = config, base, sequences, plan
        self._step_flops, self._directory, self._lease = step_flops, directory, lease
        self._team = team
        self._hooks = hooks
        self.model = adapters.attach(base.model, config)
        if config.gradient_checkpointing:
            cost.enable_checkpointing(self.model)
        self.weights = adapters.weights(self.model)
        self._optimizer = optimizer_state.make_optimizer(config, self.weights.values())
        self._progress = Progress(0, [], cost.Cost(devices=team.size))
        self._rng = optimizer_state.random_state(base.device)
        self._last_saved = time.monotonic()
        if start:
            self._load(start)

    def advance_to(self, number: int, parent: str) -> store.Checkpoint:
        """Train up to evaluation point `number`, which follows `parent`, and publish it."""
        self.train_to(number, parent)
        previous = self._plan.point_steps[number - 2] if number > 1 else 0
        self._progress.losses = [x for x in self._progress.losses if x.step > previous]
        point = self._publish(store.point_name(number), parent, number)
        if point.writer != self._token:  # it was there already: go on from what is stored
            if self._team.size > 1:
                raise StoreError(f"{point.path}: appeared while it was trained; start again")
            self._load(point)
        self._progress.losses = []
        self._directory.drop_steps()
        # Two points keep their state, so that one damaged file costs one stretch, not the training.
        last = number == len(self._plan.point_steps)
        self._directory.drop_states(before=number + 1 if last else number - 1)
        return point

    def train_to(self, number: int, parent: str) -> None:
        """The steps up to evaluation point `number`, without publishing it: a helper's part."""
        target = self._plan.point_steps[number - 1]
        device = self._base.device
        self.model.train()
        optimizer_state.set_random_state(self._rng, device)
        meter = cost.Meter(device, self._team.size)
        try:
            while self._progress.step < target:
                with self._team.in_step():
                    self._take_step(is_last=self._progress.step + 1 == target)
                self._save_between(parent, meter)
        finally:
            self._progress.cost = meter.close(self._progress.cost)
            self._rng = optimizer_state.random_state(device)
            self.model.zero_grad(set_to_none=True)

    @property
    def _token(self) -> str:
        return self._lease.token if self._lease else ""

    def close(self) -> None:
        if self._lease:
            self._lease.release()

    # ------------------------------------------------------------------ one step
    def _take_step(self, *, is_last: bool) -> None:
        step = self._progress.step + 1
        rate = learning_rate_at(self._config, step, self._plan.total_steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        try:
            loss = self._forward_backward(step)
        except torch.OutOfMemoryError as error:
            raise OutOfMemory(
                f"out of memory at step {step} with {self._config.forward_batch_size} examples in "
                f"one pass: {str(error).splitlines()[0]}"
            ) from None
        if not math.isfinite(loss):
            self._diverge(loss, step)
        self._team.sum_gradients(self.weights.values())
        if self._config.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(self.weights.values(), self._config.max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        record = StepLoss(step, self._plan.epoch_of(step), loss, rate)
        self._progress.step = step
        self._progress.losses.append(record)
        if not is_last:  # the point's own step is told with its scores
            self._hooks.on_step(record)

    def _forward_backward(self, step: int) -> float:
        """Gradients of this member's share of a batch; the whole batch's mean loss per token."""
        batch = self._plan.batch(step)
        sequences = self._sequences
        answer_tokens = sum(len(sequences[i].input_ids) - sequences[i].answer_start for i in batch)
        self._team.seed_step(self._config.seed, step)
        share, size = self._team.share(batch), self._config.forward_batch_size
        totals = [0.0, 0.0, 0.0, 0.0]
        for start in range(0, len(share), size):
            part = [sequences[i] for i in share[start : start + size]]
            loss, rows, length = self._forward_backward_part(part, answer_tokens)
            done = (loss, rows, rows * length, self._step_flops.of(rows, length))
            totals = [a + b for a, b in zip(totals, done, strict=True)]
        loss, samples, tokens, flops = self._team.sum(totals)
        self._progress.cost = self._progress.cost.plus(
            samples=round(samples), tokens=round(tokens), flops=flops
        )
        return loss

    def _forward_backward_part(
        self, part: Sequence[TrainingSequence], answer_tokens: int
    ) -> tuple[float, int, int]:
        """One forward pass: its share of the batch's mean loss, rows and padded length."""
        ids, mask, labels = collate(part, self._base.tokenizer.pad_token_id)
        device = self._base.device
        ids, mask, labels = ids.to(device), mask.to(device), labels.to(device)
        logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        targets = labels[:, 1:].flatten()
        (answers,) = (targets != IGNORED).nonzero(as_tuple=True)
        # Only the answers' logits are held in 32 bits: the vocabulary is wide, prompts are long.
        said = logits[:, :-1].flatten(0, 1).index_select(0, answers).float()
        loss = functional.cross_entropy(said, targets[answers], reduction="sum")
        loss = loss / answer_tokens
        loss.backward()
        return float(loss.detach()), ids.shape[0], ids.shape[1]

    def _diverge(self, loss: float, step: int) -> NoReturn:
        reason = (
            f"the loss became {loss} at step {step} of {self._plan.total_steps} with "
            f"learning_rate = {self._config.learning_rate:g}; try a smaller one"
        )
        if self._lease:
            self._directory.note_divergence(self._lease, reason)
        raise TrainingDiverged(reason)

    # ------------------------------------------------------------------ saving and loading
    def _save_between(self, parent: str, meter: cost.Meter) -> None:
        """A step checkpoint when it is time or a signal has come; the latter then ends the run."""
        interruption: BaseException | None = None
        try:
            self._hooks.check()
        except Exception as error:
            interruption = error
        if self._team.agree(interruption is not None):
            self._save_step(parent, meter)
            raise interruption or HelperStopped
        every_s = self._config.checkpoint_every_min * 60
        if every_s and time.monotonic() - self._last_saved >= every_s:
            self._save_step(parent, meter)

    def _save_step(self, parent: str, meter: cost.Meter) -> None:
        if self._lease is None:
            return
        open_segment = self._progress.cost
        with meter.paused():
            self._progress.cost = meter.read(open_segment)
            self._rng = optimizer_state.random_state(self._base.device)
            name = store.step_name(self._progress.step)
            self._publish(name, parent, None)
            self._progress.cost = open_segment
            self._directory.drop_steps(keep=name)

    def _publish(self, name: str, parent: str, number: int | None) -> store.Checkpoint:
        assert self._lease is not None, "helpers publish nothing"
        self._last_saved = time.monotonic()

        def fill(directory: Path) -> Mapping[str, Any]:
            adapters.save(self.model, directory / store.ADAPTER, self._config.base_model)
            tensors, scalars = optimizer_state.optimizer_state(self._optimizer)
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
            optimizer_state.restore_optimizer(
                self._optimizer, tensors, checkpoint.record["optimizer"]
            )
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
