"""A training as its runs see it: an iterator of evaluation points, wherever they come from.

A run reads the points that exist, writes the next ones when it gets the lease, and otherwise
follows whoever holds it. Point n + 1 depends on point n only.
"""

import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from agent.config import RunConfig
from agent.errors import LeaseLost, TrainingDiverged
from agent.training import base, cost, data, lease, prompts, store
from agent.training.plan import PLAN_FORMAT, Plan, make_plan
from agent.training.writer import StepLoss, Writer

POLL_S = 0.5


@dataclass(frozen=True)
class EvaluationPoint:
    """The unit of validation, reporting, pruning and storing."""

    number: int  # from 1
    of: int
    step: int
    total_steps: int
    epoch: float
    losses: tuple[StepLoss, ...]  # since the point before
    cost: cost.Cost  # of the training up to here, whoever paid it
    adapter: Path
    directory: Path
    digest: str
    run_id: str  # the run that paid for it


class Training:
    """One training of the store, bound to this process's device."""

    def __init__(
        self,
        config: RunConfig,
        examples: data.Data,
        *,
        run_id: str = "",
        check_interruption: Callable[[], None] = lambda: None,
        on_step: Callable[[StepLoss], None] = lambda _: None,
        on_model: Callable[[torch.nn.Module], None] = lambda _: None,
        meanwhile: Callable[[], bool] = lambda: False,
        poll_s: float = POLL_S,
    ) -> None:
        self.config = config
        self.data = examples
        self.device = base.choose_device(config)
        self.waited_s = 0.0
        self.run_id = run_id
        self._check_interruption = check_interruption
        self._on_step = on_step
        self._on_model = on_model
        self._meanwhile = meanwhile
        self._poll_s = poll_s
        self.root = Path(config.store).expanduser().absolute()
        self.base_path = base.locate(config)
        self.environment = self._describe_environment()
        self.identity = config.training_identity(self.environment)
        self.key = config.training_key(self.environment)
        self.directory = store.TrainingDirectory(self.root, self.key)
        self.directory.describe(self.identity)

    def _describe_environment(self) -> Mapping[str, object]:
        return {
            "base": base.digest_of(self.base_path, self.root / "digests"),
            "data": self.data.train_digest,
            "device": self.device.type,
            "world_size": 1,
            "prompt_format": prompts.PROMPT_FORMAT,
            "plan_format": PLAN_FORMAT,
            "libraries": base.library_versions(),
        }

    # Loaded on first use: a run whose points and scores exist already never needs them.
    @cached_property
    def base(self) -> base.Base:
        precision = self.config.variant.training_precision
        return base.load(self.config, self.base_path, precision, self.device)

    @cached_property
    def tokenizer(self) -> Any:
        trust = self.config.trust_remote_code
        return base.load_tokenizer(self.base_path, trust_remote_code=trust)

    @cached_property
    def _encoded(self) -> tuple[list[prompts.TrainingSequence], int]:
        return prompts.encode(self.tokenizer, self.data.train, self.config.max_length)

    @property
    def too_long(self) -> int:
        """Training examples left out because they exceed max_length."""
        return self._encoded[1]

    @cached_property
    def plan(self) -> Plan:
        return make_plan(self.config, [len(s.input_ids) for s in self._encoded[0]])

    def points(self) -> Generator[EvaluationPoint, None, None]:
        """Every evaluation point in order. Closing the iterator gives the lease back, so that any
        run that still needs the training can take over."""
        observer = lease.Observer(self.directory.path)
        writer: Writer | None = None
        parent, number = self.directory.root_digest(), 1
        try:
            while number <= len(self.plan.point_steps):
                self._check_interruption()
                found = self.directory.point(number, parent)
                if found is None and (reason := self.directory.divergence()):
                    raise TrainingDiverged(reason)
                if found is None and writer is None:
                    if (term := observer.try_acquire()) is None:
                        self._wait()
                    else:
                        writer = self._make_writer(term)
                    continue  # what was published meanwhile comes first
                if found is None and writer is not None:
                    try:
                        found = writer.advance_to(number, parent)
                    except LeaseLost:
                        self._give_up(writer)
                        writer = None
                        continue
                assert found is not None
                yield self._point(found, number)
                parent, number = found.digest, number + 1
        finally:
            if writer is not None:
                writer.close()

    def _make_writer(self, term: lease.Lease) -> Writer:
        try:
            flops = cost.step_flops(self.config, self.base_path, self.identity, self.root / "flops")
            writer = Writer(
                self.config,
                self.base,
                self._encoded[0],
                self.plan,
                flops,
                self.directory,
                term,
                run_id=self.run_id,
                check_interruption=self._check_interruption,
                on_step=self._on_step,
            )
            self._on_model(writer.model)
            return writer
        except BaseException:
            term.release()
            raise

    def _give_up(self, writer: Writer) -> None:
        """Follow from here on: the model in memory has steps that are not in the chain."""
        writer.close()
        self.__dict__.pop("base", None)

    def _wait(self) -> None:
        if not self._meanwhile():
            time.sleep(self._poll_s)
            self.waited_s += self._poll_s

    def _point(self, found: store.Checkpoint, number: int) -> EvaluationPoint:
        return EvaluationPoint(
            number=number,
            of=len(self.plan.point_steps),
            step=found.step,
            total_steps=self.plan.total_steps,
            epoch=float(found.record["epoch"]),
            losses=tuple(StepLoss(**loss) for loss in found.record["losses"]),
            cost=cost.Cost(**found.record["cost"]),
            adapter=found.adapter,
            directory=found.path,
            digest=found.digest,
            run_id=str(found.record["run"]),
        )

    def free(self) -> None:
        """Let the base model go."""
        self.__dict__.pop("base", None)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
