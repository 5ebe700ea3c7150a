"""The README's table of proofs, made from `proofs.json`: no figure is typed by hand.

    python -m tests.tools.proofs_table        writes it between the README's markers

A row is a part, a claim, and a text in which `{a.b}` stands for a figure of that part.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
README = TESTS.parent / "README.md"
RESULTS = TESTS / "proofs.json"
BEGIN, END = "<!-- proofs: made by tests/tools/proofs_table.py -->\n", "<!-- /proofs -->"

ROWS = (
    (
        "training",
        "SIGKILL at random moments, a dozen inside a save",
        "{kills/resumed_to_the_same_bits} of {kills} resume to the same bits; at most "
        "{kills/most_steps_repeated} step repeated",
    ),
    (
        "training",
        "Checkpoints truncated and with a bit flipped",
        "{damages/truncations} + {damages/flipped_bits}: {damages/undetected} undetected, "
        "{damages/objects_unpickled} objects unpickled",
    ),
    (
        "training",
        "Two claimants of one training at one instant",
        "{duels/one_trained_the_other_followed} of {duels} with a stub, "
        "{duels/real_one_trained_the_other_followed} of {duels/real} real: one trains, one follows",
    ),
    (
        "training",
        "Five cells at three learning rates",
        "{sharing/trainings_executed} trainings for {sharing/grid_points} grid points; the store "
        "takes {store/overhead_share} of training time",
    ),
    (
        "training",
        "Validation in batches against one by one",
        "{validation/speed_ratio} times as fast over {validation/examples} examples, "
        "{validation/examples_with_other_tokens} with other tokens (fp32)",
    ),
    (
        "search",
        "Pruner `paired` on curves that it was not developed on; 64, 200, 500 examples, 1, 4, 8 "
        "workers, 20 orders",
        "saves {pruning.paired.share} of what an oracle saves on ordinary families; keeps the "
        "winner in at least {pruning.paired.least_kept} of the cases of each, and in "
        "{pruning.paired.least_kept_late} of late curves; one of eight equal runs is stopped with "
        "chance {pruning.paired.equal_stopped} at most (`paired_patient`: "
        "{pruning.paired_patient.equal_stopped})",
    ),
    (
        "search",
        "64 processes on one journal, a report each per 2 s",
        "{journal_64_processes.reports_read_back} of {journal_64_processes.reports_expected} "
        "reports there, p99 of report and decision {journal_64_processes.p99_ms} ms",
    ),
    (
        "intervals",
        "95 % intervals over seeds and examples, {worlds} simulated studies: 2 to 10 seeds, "
        "unequal numbers too, n = 60 to 1,000, flips from 0.5 %, clusters of 10",
        "cover at least {least_coverage}, {mean_coverage} on average; two equal variants are "
        "called different in at most {most_called_different}",
    ),
    (
        "server",
        "`kill -9` of the server under load",
        "{kills.kills}: {kills.lines_lost} of {kills.lines_acknowledged} acknowledged lines lost, "
        "{kills.double_claims} double claims",
    ),
    (
        "server",
        "Hostile requests beside honest ones",
        "{hostility.requests} of {hostility.kinds} kinds: {hostility.server_errors} server errors, "
        "honest p99 {hostility.honest_p99_ms} ms, {hostility.memory_growth_mib} MiB grown",
    ),
    (
        "server",
        "200 agents and 200 streaming runs",
        "heartbeat p99 {load.heartbeat_p99_ms} ms, {load.lines_missing} of {load.lines} lines "
        "missing",
    ),
    (
        "server",
        "Heavy requests of one key (500 samples of a long run, parts of 14 MB, a million keys) "
        "beside another's",
        "p99 {neighbours.samples.p99_ms}, {neighbours.large_part.p99_ms} and "
        "{neighbours.many_keys.p99_ms} ms; alone {neighbours.alone.p99_ms} ms",
    ),
    (
        "server",
        "Random schedules of create, delete, sync, kill, restore, pause against a model",
        "{schedules.schedules}: {schedules.failed} lost something or showed it to another",
    ),
    (
        "server",
        "`kill -9` inside backup, snapshot, restore and migration",
        "{copies.backup.kills}, {copies.snapshot.kills}, {copies.restore.kills} and "
        "{copies.migration.kills}: {copies.backup.broken}, {copies.snapshot.broken}, "
        "{copies.restore.broken} and {copies.migration.broken} neither whole nor refused",
    ),
    (
        "server",
        "Stopped by SIGSTOP for longer than its patience; clocks turned by 10 s to 2 h",
        "{pauses.stopped} and {pauses.clocks_turned}: {pauses.stopped_wrong} and "
        "{pauses.clocks_turned_wrong} live runs handed out twice or stopped",
    ),
    (
        "server",
        "Project page over {pages.runs} runs of {pages.points} points",
        "{pages.page.median_s} s, {pages.page.first_s} s the first time after a start",
    ),
    (
        "cluster",
        "Real Slurm: preempted with requeue; with CANCEL and `--chain`; at the time limit",
        "{requeue.same_weights} of {requeue.of}, {cancel.same_weights} of {cancel.of}, "
        "{limit.same_weights} of {limit.of} end with an undisturbed run's weights and no step "
        "twice; saved at most {cancel.slowest_notice_to_saved_s} s after the notice",
    ),
    (
        "cluster",
        "Real Slurm: 15 points through an array of 4 tasks; `scancel`",
        "{demo.states.finished} of {demo.points} finished, {demo.waiting_share} of run time "
        "waiting, {demo.share_of_task_time_between_runs} of task time between runs; all ended "
        "after at most {scancel.slowest_s} s",
    ),
    (
        "cluster",
        "Real Slurm: store, pruning journal, server's data or the whole project on a disk that is "
        "full for {full_disks.full_s} s in mid-sweep",
        "{full_disks.trained} of {full_disks.points} points trained to the end or pruned, "
        "{full_disks.charged} charged",
    ),
    (
        "cluster",
        "Real Slurm: a requeued task has its own run back",
        "after at most {requeue.slowest_own_run_back_s} s; first new step after at most "
        "{requeue.slowest_first_new_step_s} s (three trainings at once on these cores)",
    ),
    (
        "benchmark",
        "Latency of one model against itself, interleaved",
        "median ratio {median_ratio}, token counts equal: {are_token_counts_equal}",
    ),
    (
        "benchmark",
        "Project page with {pages.runs} runs of {pages.points} points in Chromium",
        "first paint {pages.cold.first_paint_ms} ms cold, {pages.warm.first_paint_ms} ms warm; "
        "sorting all rows {pages.table.sort_all_rows_ms} ms; console errors: {pages.complaints}",
    ),
    (
        "speed",
        "The demo's 15 points against a plain transformers + PEFT loop on "
        "the same cores, both in one run",
        "{points_15.ratio} times as fast; first step {points_15.cold_first_step_s} s after a cold "
        "start, {points_15.warm_first_step_s} s after a warm one; alone "
        "{points_15.ours_tokens_per_s} tokens/s against {points_15.plain_tokens_per_s}, "
        "{points_15.ours_validation_examples_per_s} validation examples/s against "
        "{points_15.plain_validation_examples_per_s}, memory "
        "{points_15.ours_peak_rss_gb} GB against {points_15.plain_peak_rss_gb} GB; F1 lost by the "
        "choice: at most {points_15.most_f1_lost}",
    ),
    (
        "speed",
        "40 points, five cells at eight learning rates against a plain transformers + PEFT loop on "
        "the same cores, both in one run",
        "{points_40.ratio} times as fast; first step {points_40.cold_first_step_s} s after a cold "
        "start, {points_40.warm_first_step_s} s after a warm one; alone "
        "{points_40.ours_tokens_per_s} tokens/s against {points_40.plain_tokens_per_s}, "
        "{points_40.ours_validation_examples_per_s} validation examples/s against "
        "{points_40.plain_validation_examples_per_s}, memory "
        "{points_40.ours_peak_rss_gb} GB against {points_40.plain_peak_rss_gb} GB; F1 lost by the "
        "choice: at most {points_40.most_f1_lost}",
    ),
    (
        "speed",
        "Training step on a CPU core against the plain loop: sequences of one length, and of three "
        "tasks' lengths like LongRefiner's",
        "tokens a second {lengths.short_ratio} times at {lengths.short_tokens} tokens, "
        "{lengths.long_ratio} times at {lengths.long_tokens}, {lengths.mix_ratio} times at mixed "
        "lengths",
    ),
)


def render(results: Mapping[str, Any]) -> str:
    """The table of all that has results, with dates and machines below."""
    lines = ["| claim | measured | command |", "|---|---|---|"]
    notes = set()
    for part, claim, text in ROWS:
        try:
            measured = _filled(text, results[part]["figures"])
            said = _filled(claim, results[part]["figures"])
        except KeyError:
            continue  # not measured yet
        origin = _origin(results[part], text)
        lines.append(f"| {said} | {measured} | `{origin['command']}` |")
        notes.add(f"{origin['date']} on {origin['machine']}")
    return "\n".join([*lines, "", f"Measured {'; '.join(sorted(notes))}.", ""])


def _origin(part: Mapping[str, Any], text: str) -> Mapping[str, Any]:
    """Command, date and machine of a row: a figure may be newer than the rest of its part."""
    first = re.search(r"\{([^}.]+)", text)
    renewed: Mapping[str, Any] = part.get("renewed", {})
    return renewed.get(first[1], part) if first else part


def _is_measured(text: str, figures: Mapping[str, Any]) -> bool:
    """Whether the part holds the groups that a row is about: some are proven by name alone."""
    groups = {path.partition(".")[0] for path in re.findall(r"\{([^}]+)\}", text)}
    return groups <= figures.keys()


def _filled(text: str, figures: Mapping[str, Any]) -> str:
    return re.sub(r"\{([^}]+)\}", lambda found: _text(figures, found[1]), text)


def _text(figures: Any, path: str) -> str:
    for name in path.split("."):
        figures = figures[name]
    if isinstance(figures, list):
        return ", ".join(map(str, figures)) or "none"
    return f"{figures:.4g}" if isinstance(figures, float) else str(figures)


def write_into_readme() -> None:
    text = README.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    results = json.loads(RESULTS.read_text())
    README.write_text(f"{before}{BEGIN}{render(results)}{END}{after}")


if __name__ == "__main__":
    write_into_readme()
