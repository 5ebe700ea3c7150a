"""Limits of partitions under which a job would wait for ever.

`sbatch --test-only` accepts such a job unless the site enforces its limits at submission
(EnforcePartLimits): seen with Slurm 22.05 for MaxTime, a partition that is down, AllowAccounts and
MaxMemPerNode; it refuses too many nodes, cores or GPUs itself.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.cluster import slurm
from agent.cluster.submit.allocation import limit_seconds
from agent.errors import ClusterError, ConfigError

_MIB = {"K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2}


@dataclass(frozen=True)
class Wanted:
    """What a job asks of its partition, in the words of its options."""

    partition: str = ""  # several with commas between them; empty: the cluster's default
    time: str = ""
    mem: str = ""
    account: str = ""
    qos: str = ""


def check_partitions(wanted: Wanted) -> None:
    """ConfigError when the job would wait for ever, with the limit and where it would run."""
    try:
        rows = [
            slurm.parse_fields(line)
            for line in slurm.call(["scontrol", "-a", "-o", "show", "partition"]).splitlines()
        ]
        general = _memory_limit(slurm.call(["scontrol", "show", "config"]))
    except ClusterError:  # some sites hide them; sbatch has judged the job
        return
    if problem := partition_problem(wanted, rows, general_mib=general):
        raise ConfigError([problem], where="the submission (nothing was created)")


def _memory_limit(configuration: str) -> str:
    """MaxMemPerNode of `scontrol show config`, which holds where a partition states none."""
    found = re.search(r"^MaxMemPerNode\s*=\s*(\S+)", configuration, re.MULTILINE)
    return found.group(1) if found else ""


def partition_problem(
    wanted: Wanted, rows: Sequence[Mapping[str, str]], *, general_mib: str = ""
) -> str | None:
    """Why none of the job's partitions will ever start it. Partitions that are not in `rows` are
    taken to do so: Slurm has accepted them.
    """
    default = [row["PartitionName"] for row in rows if row.get("Default") == "YES"]
    names = wanted.partition.split(",") if wanted.partition else default
    found = {
        row.get("PartitionName", ""): _refusal(wanted, {"MaxMemPerNode": general_mib} | _set(row))
        for row in rows
    }
    refused = [text for name in names if (text := found.get(name, ""))]
    if not refused or len(refused) < len(names):
        return None
    others = ", ".join(name for name, text in found.items() if not text) or "none"
    return (
        f"{refused[0]}: the job would wait for ever; partitions that take it: {others} "
        "(--unchecked: the quality of service lifts the limit)"
    )


def _set(row: Mapping[str, str]) -> dict[str, str]:
    """The limits that a partition states itself."""
    return {name: value for name, value in row.items() if value not in ("UNLIMITED", "(null)")}


def _refusal(wanted: Wanted, row: Mapping[str, str]) -> str:
    """What keeps a job out of one partition; empty for nothing."""
    name = row.get("PartitionName", "")
    if row.get("State", "UP") != "UP":
        return f"partition = {name}: it is {row['State']}"
    longest_s = slurm.duration_s(row.get("MaxTime", ""))
    if wanted.time and longest_s is not None:
        limit_s = limit_seconds(wanted.time)
        if (math.inf if limit_s is None else limit_s) > longest_s:
            return f"time = {wanted.time}: partition {name} allows {row['MaxTime']} (MaxTime)"
    largest_mib = row.get("MaxMemPerNode", "")
    if largest_mib.isdigit() and _mib(wanted.mem) > int(largest_mib):
        return f"mem = {wanted.mem}: partition {name} allows {largest_mib}M (MaxMemPerNode)"
    for option, given, plural in (
        ("account", wanted.account, "Accounts"),
        ("qos", wanted.qos, "Qos"),
    ):
        allowed, denied = row.get(f"Allow{plural}", "ALL"), row.get(f"Deny{plural}", "")
        if given and allowed != "ALL" and given not in allowed.split(","):
            return f"{option} = {given}: partition {name} is for {allowed} (Allow{plural})"
        if given and given in denied.split(","):
            return f"{option} = {given}: partition {name} is not for it (Deny{plural})"
    return ""


def _mib(text: str) -> float:
    """MiB of sbatch's --mem; 0, all memory of a node, is never too much."""
    found = re.fullmatch(r"(\d+)([KMGT]?)", text.upper())
    return int(found.group(1)) * _MIB[found.group(2) or "M"] if found else 0.0
