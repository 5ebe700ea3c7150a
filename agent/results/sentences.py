"""What a study found, in sentences: the first line of a report and one line per variant.

Pure text from numbers that others have worked out, so that report, pages and terminal say the same.
"""

from collections.abc import Iterable, Mapping, Sequence

from agent.results.comparable import BASELINE
from agent.results.retention import NO_INTERVAL, Retention

ONE_SEED = "one seed: training noise not included"
NO_SCORES = "no per-example scores, so no interval"


def percent(found: Retention) -> str:
    """`96 % [93, 99]`; empty when there is no ratio. A small interval gets a
    decimal, and so does one that excludes 100 % by less than a half."""
    if found.value is None:
        return ""
    if found.interval is None:
        return f"{100 * found.value:.0f} %"
    low, high = 100 * found.interval.low, 100 * found.interval.high
    hides_it = found.is_resolved and f"{100:.0f}" in (f"{low:.0f}", f"{high:.0f}")
    digits = 1 if high - low < 2 or hides_it else 0
    return f"{100 * found.value:.{digits}f} % [{low:.{digits}f}, {high:.{digits}f}]"


def basis(found: Retention) -> str:
    """What a ratio rests on: `n = 500, 3 seeds`, `n = 500 in 50 sources, one seed: …`."""
    words = []
    if found.interval is None:
        words.append(found.note if found.note.startswith(NO_INTERVAL) else NO_SCORES)
    else:
        words.append(_count(found.interval.examples, found.interval.clusters))
    if found.seeds:
        words.append(ONE_SEED if found.seeds == 1 else f"{found.seeds} seeds")
    return ", ".join(words)


def _count(examples: int, clusters: int) -> str:
    return f"n = {examples}" + (f" in {clusters} sources" if 0 < clusters < examples else "")


def variant_sentence(
    label: str,
    found: Retention,
    metric: str,
    size: float | None = None,
    memory: float | None = None,
) -> str:
    """One variant in one sentence, without a full stop.

    `metric` is the score's phrase (`test F1`); `size` and `memory` are the variant's model size and
    training memory as shares of Full LoRA's, None where they are unknown.
    """
    if found.value is None:
        return f"{label}: no retention ({found.note or 'nothing to compare'})"
    shares = [
        f"{share:.2f} of its {what}"
        for share, what in ((size, "size"), (memory, "training memory"))
        if share is not None
    ]
    at = f" at {' and '.join(shares)}" if shares else ""
    return f"{label} keeps {percent(found)} of {BASELINE}'s {metric}{at}; {basis(found)}"


def opening_sentence(retentions: Mapping[str, Retention], label: str = "") -> str:
    """What the variants of one family differ in, beyond the noise of seeds and examples.

    `retentions` holds each variant's but Full LoRA's own; `label` names the family where there are
    several.
    """
    where = f"{label}: " if label else ""
    if not retentions:
        return f"{where}Only {BASELINE} has runs, so there is nothing to compare with it."
    known = {name: found for name, found in retentions.items() if found.value is not None}
    if not known:
        reasons = sorted({found.note for found in retentions.values() if found.note})
        why = f": {'; '.join(reasons)}" if reasons else ""
        return f"{where}Nothing can be compared with {BASELINE}{why}."
    resolved = {name: found for name, found in known.items() if found.is_resolved}
    others = {name: found for name, found in known.items() if not found.is_resolved}
    if not resolved:
        said = _capital(_conditions(known.values()))
        return f"{where}{said} no difference between the variants is established."
    said = _capital(_conditions(resolved.values()))
    listed = _listed([f"{name} keeps {percent(found)}" for name, found in resolved.items()])
    rest = f"; {_unresolved(others)}" if others else ""
    return f"{where}{said} {listed} of {BASELINE}'s score: established{rest}."


def nothing_sentence(run_count: int) -> str:
    """What opens a report that has no variant to speak of."""
    if not run_count:
        return "There are no runs yet, so nothing can be said about any variant."
    runs = "The run names" if run_count == 1 else f"None of the {run_count} runs names"
    no = "no" if run_count == 1 else "a"
    return f"{runs} {no} model_variant, so nothing can be compared."


def _unresolved(others: Mapping[str, Retention]) -> str:
    listed = _listed([f"{name} ({percent(found)})" for name, found in others.items()])
    return f"no difference from {BASELINE} is established for {listed}"


def _conditions(found: Iterable[Retention]) -> str:
    """`at n = 60 and one seed`, over what several ratios rest on."""
    ratios = list(found)
    counts = sorted({r.interval.examples for r in ratios if r.interval is not None})
    seeds = sorted({r.seeds for r in ratios if r.seeds})
    clusters = sorted({r.interval.clusters for r in ratios if r.interval is not None})
    words = []
    if counts:
        several = f"n = {counts[0]} to {counts[-1]}" if len(counts) > 1 else f"n = {counts[0]}"
        grouped = len(counts) == len(clusters) == 1 and clusters[0] < counts[0]
        words.append(several + (f" in {clusters[0]} sources" if grouped else ""))
    else:
        is_said = any(r.note.startswith(NO_INTERVAL) for r in ratios)
        words.append("without an interval" if is_said else "without per-example scores")
    if seeds == [1]:
        words.append("one seed")
    elif seeds:
        words.append(f"{seeds[0]} to {seeds[-1]} seeds" if len(seeds) > 1 else f"{seeds[0]} seeds")
    return f"at {' and '.join(words)}" if counts else f"{words[0]}, with {' '.join(words[1:])},"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
