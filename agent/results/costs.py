"""What a variant gains in cost, and what the whole study spent and saved."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agent.results.columns import COLUMNS, RUN_COST, TOKENS_OUT, TRAINING_COST, Column
from agent.results.comparable import BASELINE, STEP_KEYS, gpu_of, seed_of
from agent.results.run_table import Row

UNSTATED = "GPU not stated"
# Answers this many times as long or as short are another regime: who says nothing is fast.
SAME_LENGTH = 1.25
SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class Gain:
    """`ratio` is Full LoRA's cost over the variant's: 2 means half the cost. None with a reason."""

    column: Column
    ratio: float | None
    note: str = ""


def gains(
    treated: Sequence[Row], baseline: Sequence[Row], columns: Iterable[Column] = COLUMNS
) -> tuple[Gain, ...]:
    """Efficiency of one variant against Full LoRA, for every column that names a gain.

    Times and memory are compared only on a GPU type that both sides ran on; where several are
    shared, on the one with most runs. Size and FLOPs don't depend on it. Training time and memory
    also need the same micro-batch and gradient checkpointing on both sides.
    """
    shared = {group: _shared_gpu(treated, baseline, group) for group in ("training", "inference")}
    unlike = _unlike_steps(treated, baseline)
    found = []
    for column in columns:
        if not column.gain:
            continue
        gpu, reason = shared["inference" if column.group == "inference" else "training"]
        if column.is_hardware_bound and gpu is None:
            found.append(Gain(column, None, reason))
            continue
        if column.is_hardware_bound and column.group == "training" and unlike:
            found.append(Gain(column, None, unlike))
            continue
        if column.is_per_answer and (lengths := _unlike_answers(treated, baseline)):
            found.append(Gain(column, None, lengths))
            continue
        wanted = gpu if column.is_hardware_bound else None
        sides = (treated, baseline)
        mine, theirs = (mean_of(rows, column.key, wanted, column.group) for rows in sides)
        ratio = theirs / mine if mine and theirs is not None and mine > 0 else None
        note = reason if column.is_hardware_bound and ratio is not None else ""
        found.append(Gain(column, ratio, note))
    return tuple(found)


def _shared_gpu(
    treated: Sequence[Row], baseline: Sequence[Row], group: str
) -> tuple[str | None, str]:
    names = [[gpu_of(row, group) or UNSTATED for row in rows] for rows in (treated, baseline)]
    shared = set(names[0]) & set(names[1])
    if not shared:
        mine, theirs = (", ".join(sorted(set(n))) or "nothing" for n in names)
        return None, f"no shared GPU type: {mine} against {BASELINE} on {theirs}"
    gpu = max(sorted(shared), key=lambda name: names[0].count(name) + names[1].count(name))
    return gpu, gpu


def _unlike_answers(treated: Sequence[Row], baseline: Sequence[Row]) -> str:
    """Answers of another length, in words: a model that says less takes less time for it."""
    mine, theirs = mean_of(treated, TOKENS_OUT), mean_of(baseline, TOKENS_OUT)
    if not mine or not theirs or 1 / SAME_LENGTH <= mine / theirs <= SAME_LENGTH:
        return ""
    return (
        f"costs per answer not compared: answers of {mine:.3g} against {theirs:.3g} tokens; see "
        "the time per output token"
    )


def _unlike_steps(treated: Sequence[Row], baseline: Sequence[Row]) -> str:
    """Settings of a training step that differ between the sides, in words."""
    found = []
    for key in STEP_KEYS:
        mine, theirs = ({str(row.values.get(key)) for row in rows} for rows in (treated, baseline))
        if mine != theirs and mine and theirs:
            found.append(f"{key} {'/'.join(sorted(mine))} against {'/'.join(sorted(theirs))}")
    return "training costs not compared: " + ", ".join(found) if found else ""


def mean_of(
    rows: Iterable[Row], key: str, gpu: str | None = None, group: str = "training"
) -> float | None:
    """Mean over seeds of a metric, over the rows that have it (on one GPU type, if given); a seed
    that ran twice counts once."""
    seeds: dict[int, list[float]] = {}
    for row in rows:
        value = row.number(key)
        if value is not None and (gpu is None or (gpu_of(row, group) or UNSTATED) == gpu):
            seeds.setdefault(seed_of(row), []).append(value)
    return statistics.fmean(map(statistics.fmean, seeds.values())) if seeds else None


def reference_gpu(rows: Iterable[Row], column: Column | None = None) -> str | None:
    """The GPU type most runs were measured on (those with a value of `column`, if given): the one
    that plain figures belong to. None for what depends on no GPU or where no run says."""
    group = column.group if column else "training"
    if column is not None and not column.is_hardware_bound:
        return None
    names = [
        name
        for row in rows
        if (column is None or row.number(column.key) is not None) and (name := gpu_of(row, group))
    ]
    return max(sorted(set(names)), key=names.count) if names else None


@dataclass(frozen=True)
class Cost:
    """The mean over seeds of one metric. `other_gpu` is named where it belongs to another type of
    GPU than the values of the other variants: then it is compared with none of them."""

    mean: float
    other_gpu: str = ""


def cost_of(rows: Sequence[Row], column: Column, reference: str | None) -> Cost | None:
    """The metric on the reference GPU; on another one only where it was measured on no other."""
    known = [row for row in rows if row.number(column.key) is not None]
    same = [row for row in known if reference in (None, gpu_of(row, column.group) or reference)]
    mean = mean_of(same or known, column.key)
    if mean is None:
        return None
    others = sorted({gpu_of(row, column.group) or UNSTATED for row in known})
    return Cost(mean, "" if same else ", ".join(others))


@dataclass(frozen=True)
class Spending:
    """GPU seconds of a study. `own_s` is the only figure that is a sum of what was spent."""

    own_s: float | None
    runs_without_cost: int
    sharing_saved_s: float | None
    shared_runs: int
    pruning_saved_s: float | None  # an estimate: the points not trained, at the pace of the others
    pruned_runs: int
    by_gpu: Mapping[str, float]
    device: str  # what the seconds are called: GPU time, or device time on a CPU


def spending(rows: Iterable[Row]) -> Spending:
    """What was spent, what sharing a training saved and what pruning saved.

    A training that several runs share counts once: it is cut short only if none of its runs went
    further, so the saving is taken from the run of each training that came furthest.
    """
    trained = [
        row for row in rows if row.state != "baseline" and row.text("job_type") != "inference"
    ]
    own = [value for row in trained if (value := row.number(RUN_COST)) is not None]
    pruned = [row for row in trained if row.is_pruned]
    trainings = _by_training(trained)
    return Spending(
        own_s=sum(own) if own else None,
        runs_without_cost=len(trained) - len(own),
        sharing_saved_s=_total(_shared_s(runs) for runs in trainings.values()),
        shared_runs=sum(row.text("train/reused_from") is not None for row in trained),
        pruning_saved_s=_total(_cut_short_s(runs) for runs in trainings.values()),
        pruned_runs=len(pruned),
        by_gpu=costs_by_gpu(trained),
        device="device time" if reference_gpu(trained) == "cpu" else "GPU time",
    )


def _by_training(rows: Iterable[Row]) -> dict[str, list[Row]]:
    trainings: dict[str, list[Row]] = {}
    for row in rows:
        key = row.text("training/key") or f"run {row.project}/{row.run_id}"
        trainings.setdefault(key, []).append(row)
    return trainings


def _total(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _shared_s(runs: Sequence[Row]) -> float | None:
    """What the runs of one training would have trained again. Each shows the training's cost up
    to where it stopped; paid was the longest of them, and whatever runs paid on their own."""
    costs = [(row, value) for row in runs if (value := row.number(TRAINING_COST)) is not None]
    if not any(row.text("train/reused_from") for row, _ in costs):
        return None
    alone = sum(value for row, value in costs if not row.text("train/reused_from"))
    paid = max(alone, *(value for _, value in costs))
    return max(sum(value for _, value in costs) - paid, 0.0)


def _cut_short_s(runs: Sequence[Row]) -> float | None:
    """Seconds a training would still have taken, when all of its runs were pruned. What it was
    trained past its last evaluation point, by whichever run, is not saved."""
    if not all(row.is_pruned for row in runs):
        return None
    furthest = max(runs, key=lambda row: row.epochs_run or 0.0)
    spent = furthest.number(TRAINING_COST)
    spent = furthest.number(RUN_COST) if spent is None else spent
    reached, budget = furthest.epochs_run, furthest.number("epochs")
    if spent is None or budget is None or not reached:
        return None
    trained = max(row.epochs_trained or 0.0 for row in runs)
    return spent / reached * max(budget - trained, 0.0)


def spending_sentences(found: Spending) -> tuple[str, ...]:
    """The spending in words; what is unknown is said to be unknown."""
    if found.own_s is None:
        return (f"{_capital(found.device)} was not recorded by these runs.",)
    parts = [f"{name}: {_duration(seconds)}" for name, seconds in found.by_gpu.items()]
    each = f" ({', '.join(parts)})" if len(parts) > 1 else ""
    said = [
        f"{_duration(found.own_s)} of {found.device} spent by the runs themselves{each}, "
        "evaluation included; a shared training counts once."
    ]
    if found.runs_without_cost:
        said.append(
            f"{found.runs_without_cost} runs recorded no {found.device} and are not in that sum."
        )
    if found.sharing_saved_s is not None:
        said.append(
            f"Sharing trainings saved {_duration(found.sharing_saved_s)} of training "
            f"({found.shared_runs} runs reused one)."
        )
    if found.pruning_saved_s is not None:
        said.append(
            f"Pruning saved about {_duration(found.pruning_saved_s)} of training "
            f"({found.pruned_runs} runs pruned; the rest of their trainings at the pace so far)."
        )
    return tuple(said)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < SECONDS_PER_HOUR else f"{seconds / 3600:.2f} h"


def costs_by_gpu(rows: Iterable[Row]) -> Mapping[str, float]:
    """GPU seconds spent per type of GPU."""
    found: dict[str, float] = {}
    for row in rows:
        if (value := row.number(RUN_COST)) is not None:
            name = gpu_of(row) or UNSTATED
            found[name] = found.get(name, 0.0) + value
    return found
