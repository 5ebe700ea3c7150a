"""The writer: advances one training on this process's device, under its lease.

Everything a step depends on (adapter, optimizer, random state, step number) lies in the last
checkpoint, so the same steps give the same bits in any process.
"""

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors.torch import load_file, save_file

from agent.config.run_config import RunConfig
from agent.config.shared_devices import agents_on_device
from agent.errors import OutOfMemory, StoreError, TrainingDiverged
from agent.training import (
    adapters,
    answer_loss,
    base_model,
    cost,
    device_memory,
    optimizer_state,
    short_attention,
    store,
)
from agent.training.base_model import Base
from agent.training.data_parallel import Team
from agent.training.facts.cost_record import Cost, StepFlops, Work
from agent.training.facts.hooks import Hooks, StepLoss
from agent.training.lease import Lease
from agent.training.prompts import TrainingSequence
from agent.training.schedule import Plan, learning_rate_at


@dataclass
class Progress:
    """Where a training stands; grows with every step."""

    step: int
    losses: list[StepLoss]  # since the last evaluation point
    cost: Cost


class HelperStopped(Exception):
    """The run has been interrupted; its helpers wait for what comes next."""


@dataclass(frozen=True)
class Recipe:
    """What the steps of a training are made of, the same in every process and in every life."""

    config: RunConfig
    sequences: Sequence[TrainingSequence]
    plan: Plan
    step_flops: StepFlops


@dataclass(frozen=True)
class Place:
    """Where the steps are kept, and in whose name. Without a lease a process only helps."""

    directory: store.TrainingDirectory
    lease: Lease | None
    run_id: str


class Trainer:
    """Owns model, optimizer and position of one training. Close it to give the lease back.

    `start` is the checkpoint it goes on from. Without a lease it is a helper of the team.
    """

    def __init__(
        self,
        recipe: Recipe,
        base: Base,
        place: Place,
        team: Team,
        *,
        start: store.Checkpoint | None,
        hooks: Hooks,
    ) -> None:
        config = self._config = recipe.config
        self._sequences, self._plan = recipe.sequences, recipe.plan
        self._step_flops, self._base = recipe.step_flops, base
        self._directory, self._lease, self._run_id = place.directory, place.lease, place.run_id
        self._team, self._hooks = team, hooks
        self.model = adapters.attach(base.model, config)
        if config.gradient_checkpointing:
            cost.enable_checkpointing(self.model)
        self.weights = adapters.weights(self.model)
        self._optimizer = optimizer_state.make_optimizer(config, self.weights.values())
        self._progress = Progress(0, [], self._paid_by_this_process(Cost()))
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
            with short_attention.in_training(self.model):
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

    def _paid_by_this_process(self, spent: Cost) -> Cost:
        return replace(
            spent,
            devices=self._team.size,
            agents_on_device=agents_on_device(os.environ),
            flops_left_out=self._step_flops.left_out,
        )

    def close(self) -> None:
        """Give the lease back and let the model go, even if this writer is still referred to: an
        exception's traceback may do so for the rest of the process."""
        if self._lease:
            self._lease.release()
        self.__dict__.pop("model", None)
        self.__dict__.pop("_base", None)
        self.__dict__.pop("_optimizer", None)
        self.weights = {}

    # ------------------------------------------------------------------ one step
    def _take_step(self, *, is_last: bool) -> None:
        step = self._progress.step + 1
        rate = learning_rate_at(self._config, step, self._plan.total_steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        loss = device_memory.attempt(lambda: self._compute_step(step))
        if isinstance(loss, device_memory.Shortage):
            raise OutOfMemory(
                f"out of memory at step {step} with {self._config.forward_batch_size} examples in "
                f"one pass: {loss.reason}"
            )
        record = StepLoss(step, self._plan.epoch_of(step), loss, rate)
        self._progress.step = step
        self._progress.losses.append(record)
        if not is_last:  # the point's own step is logged with its scores
            self._hooks.on_step(record)

    def _compute_step(self, step: int) -> float:
        loss = self._forward_backward(step)
        if not math.isfinite(loss):
            self._diverge(loss, step)
        self._team.sum_gradients(self.weights.values())
        if self._config.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(self.weights.values(), self._config.max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return loss

    def _forward_backward(self, step: int) -> float:
        """Gradients of this member's share of a batch; the whole batch's mean loss per token."""
        batch = self._plan.batch(step)
        sequences = self._sequences
        answer_tokens = sum(len(sequences[i].input_ids) - sequences[i].answer_start for i in batch)
        self._team.seed_step(self._config.seed, step)
        work, losses = Work(), []
        for indices in self._plan.passes(self._team.share(batch)):
            part = [sequences[i] for i in indices]
            padded = self._plan.padded_length(indices)
            losses.append(self._forward_backward_part(part, padded, answer_tokens))
            lengths = [len(s.input_ids) for s in part]
            answers = [len(s.input_ids) - s.answer_start for s in part]
            work = work.plus(Work.of_pass(self._step_flops, lengths, answers, padded))
        # The only value that is waited for: a step whose loss is not a number must not be made.
        own_loss = float(torch.stack(losses).sum()) if losses else 0.0
        loss, *summed = self._team.sum([own_loss, *work])
        self._progress.cost = self._progress.cost.plus(Work(*summed))
        return loss

    def _forward_backward_part(
        self, part: Sequence[TrainingSequence], padded: int, answer_tokens: int
    ) -> torch.Tensor:
        """One forward pass: its share of the batch's mean loss, on the device."""
        tensors = collate(part, padded, self._base.tokenizer.pad_token_id)
        ids, places, targets = (t.to(self._base.device, non_blocking=True) for t in tensors)
        return answer_loss.forward_backward(self.model, ids, places, targets, 1 / answer_tokens)

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
                "gpu": base_model.device_name(self._base.device),
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
            tensors = load_file(str(checkpoint.state))
            optimizer_state.restore_optimizer(
                self._optimizer, tensors, checkpoint.record["optimizer"]
            )
        except (KeyError, ValueError, RuntimeError) as error:
            raise StoreError(f"{checkpoint.path}: does not fit this training: {error}") from error
        self._rng = {n[4:]: t.cpu() for n, t in tensors.items() if n.startswith("rng.")}
        is_point = checkpoint.record["number"] is not None
        losses = [] if is_point else [StepLoss(**loss) for loss in checkpoint.record["losses"]]
        spent = self._paid_by_this_process(Cost(**checkpoint.record["cost"]))
        self._progress = Progress(checkpoint.step, losses, spent)


def collate(
    part: Sequence[TrainingSequence], padded: int, pad_id: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids padded on the right, (rows, padded); the places in the flattened ids whose next token is
    an answer's, and those next tokens."""
    ids = torch.full((len(part), padded), pad_id)
    places: list[int] = []
    targets: list[int] = []
    for row, sequence in enumerate(part):
        length = len(sequence.input_ids)
        ids[row, :length] = torch.tensor(sequence.input_ids)
        start = row * padded - 1
        places += range(start + sequence.answer_start, start + length)
        targets += sequence.input_ids[sequence.answer_start :]
    return ids, torch.tensor(places), torch.tensor(targets)
