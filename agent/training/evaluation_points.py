"""A training as its runs see it: an iterator of evaluation points, wherever they come from.

A run reads the points that exist, writes the next ones when it gets the lease, and otherwise
follows the holder. Point n + 1 depends on point n only.
"""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.config.run_config import RunConfig
from agent.errors import LeaseLost, ModelTooLarge, OutOfMemory, StoreError, TrainingDiverged
from agent.training import (
    cache_miss,
    data,
    data_parallel,
    lease,
    prompts,
    run_registry,
    store,
)
from agent.training.data_formats import Example
from agent.training.facts import base_files, devices, tokenized
from agent.training.facts.cost_record import Cost
from agent.training.facts.hooks import NO_HOOKS, Hooks, StepLoss
from agent.training.schedule import PLAN_FORMAT, Plan, make_plan

if TYPE_CHECKING:
    import torch

    from agent.training.base_model import Base
    from agent.training.trainer import Trainer

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
    cost: Cost  # of the training up to here, whichever run paid it
    adapter: Path
    directory: Path
    digest: str
    run_id: str  # the run that paid for it
    gpu: str | None = None  # what it was trained on; "cpu" without a GPU


class Training:
    """One training of the store, bound to this process's device."""

    def __init__(
        self,
        config: RunConfig,
        examples: data.Data,
        *,
        run_id: str = "",
        hooks: Hooks = NO_HOOKS,
        poll_s: float = POLL_S,
        base: "Base | None" = None,
    ) -> None:
        """`base` is one that lies in memory already; else it is loaded when it is needed."""
        if base is not None:
            self.__dict__["base"] = base
        self.config = config
        self.data = examples
        self.waited_s = 0.0
        self.run_id = run_id
        self._hooks = hooks
        self._poll_s = poll_s
        self.root = Path(config.store).expanduser().absolute()
        if config.group_writable:
            store.share_with_group(self.root)
        self.device_facts = devices.facts(config, self.root)
        self.team = data_parallel.Team(self.device_facts.type)
        self.base_path = base_files.locate(config)
        self.environment = self._describe_environment()
        self.identity = config.training_identity(self.environment)
        self.key = config.training_key(self.environment)
        self.directory = store.TrainingDirectory(self.root, self.key)

    def _describe_environment(self) -> Mapping[str, object]:
        return {
            "base": self._base_digest,
            "data": self.data.train_digest,
            "device": self.device_facts.type,
            "world_size": data_parallel.world_size(),
            "prompts": self._digest_prompts(self.data.train, self.data.train_digest),
            "prompt_format": prompts.PROMPT_FORMAT,
            "plan_format": PLAN_FORMAT,
            "libraries": base_files.library_versions(),
        }

    def _digest_prompts(self, examples: Sequence[Example], digest: str) -> str:
        """Of prompts as this base reads them."""

        def make() -> str:
            return prompts.digest_of(self.tokenizer, examples)

        return tokenized.prompts_digest(self._base_digest, digest, self.root, make)

    @cached_property
    def _base_digest(self) -> str:
        return base_files.digest_of(self.base_path, self.root / "digests")

    @cached_property
    def validation_prompts(self) -> str:
        return self._digest_prompts(self.data.validation, self.data.validation_digest)

    # Loaded on first use, and so are the libraries below: a run whose points and scores exist
    # already never needs them.
    @cached_property
    def device(self) -> "torch.device":
        from agent.training import base_model

        return base_model.choose_device(self.config)

    @property
    def holds_base(self) -> bool:
        """Whether the base model is in memory now."""
        return "base" in self.__dict__

    @cached_property
    def base(self) -> "Base":
        from agent.training import base_model, device_memory

        precision = self.config.variant.training_precision
        loaded = device_memory.attempt(
            lambda: base_model.load(self.config, self.base_path, precision, self.device)
        )
        if not isinstance(loaded, device_memory.Shortage):
            return loaded
        raise ModelTooLarge(
            f"base_model = {self.config.base_model!r} at {precision} does not fit into the memory "
            f"of {self.device}: {loaded.reason}; take a larger GPU, or QLoRA"
        )

    @cached_property
    def tokenizer(self) -> Any:
        from agent.training import base_model

        trust = self.config.trust_remote_code
        return base_model.load_tokenizer(self.base_path, trust_remote_code=trust)

    @cached_property
    def _encoded(self) -> tuple[list[prompts.TrainingSequence], int]:
        config = self.config
        return prompts.encode(
            self.tokenizer, self.data.train, config.max_length, config.max_length_by_task
        )

    def facts(self) -> dict[str, object]:
        """What a run says about its training before it begins."""
        known = cache_miss.read_identities(self.root, besides=self.key)
        is_new = not self.directory.has_begun()
        return {
            **self.data.facts(),
            "data/too_long_examples": self._counts.too_long,
            "train/world_size": self.team.size,
            "train/near_miss": cache_miss.explain(self.identity, known) if is_new else None,
        }

    @cached_property
    def _counts(self) -> tokenized.TokenCounts:
        return tokenized.counts(
            self.config, self.environment, self.root, encode=lambda: self._encoded
        )

    @cached_property
    def plan(self) -> Plan:
        return make_plan(self.config, self._counts.lengths)

    def between_steps(self, ask: Callable[[], None]) -> None:
        """Also call `ask` wherever an interruption is looked for; what it raises ends the points
        after the state has been saved."""
        before = self._hooks.check

        def check_both() -> None:
            before()
            ask()

        self._hooks = replace(self._hooks, check=check_both)

    def points(self, *, wait: bool = True) -> Generator[EvaluationPoint, None, None]:
        """Every evaluation point in order. Closing the iterator gives the lease back, so that any
        run that still needs the training can take over.

        Without `wait` it ends where another worker holds the lease.
        """
        self.directory.describe(self.identity)
        if self.run_id and wait:
            self._note.write(self.root)
        observer = lease.Observer(self.directory.path)
        writer: Trainer | None = None
        parent, number = self.directory.root_digest(), 1
        try:
            while number <= len(self.plan.point_steps):
                self._hooks.check()
                found = self.directory.point(number, parent)
                if found is None and (reason := self.directory.divergence()):
                    raise TrainingDiverged(reason)
                if found is None and writer is None:
                    if term := observer.try_acquire():
                        writer = self._make_writer(term)
                    elif wait:
                        self._wait()
                    else:
                        return
                    continue  # what was published meanwhile comes first
                if found is None and writer is not None:
                    try:
                        self.team.order("train", number, parent)
                        found = writer.advance_to(number, parent)
                    except LeaseLost:
                        self._give_up(writer)
                        writer = None
                        continue
                assert found is not None
                yield self._point(found, number)
                parent, number = found.digest, number + 1
        except OutOfMemory:  # the next attempt needs the memory that this one's base holds
            if writer is not None:
                writer.close()
            self.free()
            raise
        finally:
            if writer is not None:
                writer.close()
            self.team.order("leave")

    def help(self) -> None:
        """The part of every process of a team but the first: its share of each batch."""
        from agent.training.trainer import HelperStopped

        writer: Trainer | None = None
        while (order := self.team.next_order())[0] != "leave":
            if order[0] == "load":
                name: str | None = order[1]
                start = store.read_checkpoint(self.directory.path / name) if name else None
                if name and start is None:
                    raise StoreError(f"{self.directory.path / name}: cannot be read by a helper")
                if writer is not None:
                    writer.close()
                self.free()
                writer = self._new_writer(None, start)
            elif writer is not None:
                with suppress(HelperStopped, TrainingDiverged):
                    writer.train_to(order[1], order[2])

    def _make_writer(self, term: lease.Lease) -> "Trainer":
        try:
            start = self.directory.newest_state()
            self.team.order("load", start.path.name if start else None)
            writer = self._new_writer(term, start)
            self._hooks.on_model(writer.model)
            return writer
        except BaseException:
            term.release()
            raise

    def _new_writer(self, term: lease.Lease | None, start: store.Checkpoint | None) -> "Trainer":
        from agent.training import cost
        from agent.training.trainer import Place, Recipe, Trainer

        counts = self.root / "flops"
        flops = cost.step_flops(self.config, self.base_path, self.identity, counts)
        return Trainer(
            Recipe(self.config, self._encoded[0], self.plan, flops),
            self.base,
            Place(self.directory, term, self.run_id),
            self.team,
            start=start,
            hooks=self._hooks if term else NO_HOOKS,
        )

    def _give_up(self, writer: "Trainer") -> None:
        """Follow from here on: the model in memory has steps that are not in the chain."""
        writer.close()
        self.free()

    def _wait(self) -> None:
        """Hold no device memory, do something useful if there is anything, else sleep a moment."""
        self.free()
        started = time.monotonic()
        if self.team.size > 1 or not self._hooks.idle():
            time.sleep(self._poll_s)
            self.waited_s += time.monotonic() - started

    def _point(self, found: store.Checkpoint, number: int) -> EvaluationPoint:
        return EvaluationPoint(
            number=number,
            of=len(self.plan.point_steps),
            step=found.step,
            total_steps=self.plan.total_steps,
            epoch=float(found.record["epoch"]),
            losses=tuple(StepLoss(**loss) for loss in found.record["losses"]),
            cost=Cost(**found.record["cost"]),
            adapter=found.adapter,
            directory=found.path,
            digest=found.digest,
            run_id=str(found.record["run"]),
            gpu=found.record.get("gpu"),
        )

    def note_end(
        self, points: Sequence[EvaluationPoint], state: str, scores: Path, description: str
    ) -> None:
        """Tell the store how the run ended and where its adapter and scores lie."""
        paid_before = [0.0, *(p.cost.train_seconds for p in points)]
        shares = zip(points, paid_before, strict=False)
        self._note.changed(
            self.root,
            state=state,
            point=str(points[-1].directory.relative_to(self.root)),
            scores=str(scores.relative_to(self.root)),
            description=description,
            needed_seconds=points[-1].cost.train_seconds,
            reused_seconds=sum(
                p.cost.train_seconds - before for p, before in shares if p.run_id != self.run_id
            ),
        )

    def note_uploaded(self) -> None:
        """Tell the store that the server has everything of the run."""
        run_registry.read(self.root, self.run_id).changed(self.root, uploaded=True)

    @property
    def _note(self) -> run_registry.RunNote:
        values = self.config.values_of("training", "deployment", "evaluation", "search")
        return run_registry.RunNote(
            self.run_id, self.key, values
        )  # no paths and no storage's password

    def free(self) -> None:
        """Let the base model go."""
        if self.__dict__.pop("base", None) is not None:
            from agent.training import device_memory

            device_memory.release(self.device)
