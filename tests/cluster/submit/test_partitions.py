"""Limits under which a job would wait for ever, read off what Slurm prints."""

import pytest

from agent.cluster.slurm import parse_fields
from agent.cluster.submit.partitions import Wanted, partition_problem

LINES = (
    "PartitionName=short AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL Default=YES "
    "MaxNodes=UNLIMITED MaxTime=00:10:00 State=UP MaxMemPerNode=UNLIMITED",
    "PartitionName=lab AllowAccounts=lab,guests AllowQos=high Default=NO MaxTime=2-00:00:00 "
    "State=UP MaxMemPerNode=64000",
    "PartitionName=open DenyAccounts=guests DenyQos=low Default=NO MaxTime=UNLIMITED State=UP",
    "PartitionName=old AllowAccounts=ALL Default=NO MaxTime=UNLIMITED State=DOWN",
)
ROWS = [parse_fields(line) for line in LINES]
END = "(--unchecked: the quality of service lifts the limit)"


@pytest.mark.parametrize(
    ("wanted", "reason", "others"),
    [
        (Wanted(time="30"), "time = 30: partition short allows 00:10:00 (MaxTime)", "lab, open"),
        (Wanted(time="UNLIMITED"), "time = UNLIMITED: partition short allows 00:10:00", "open"),
        (Wanted("lab", "2-00:00:01"), "partition lab allows 2-00:00:00 (MaxTime)", "open"),
        (Wanted("lab", mem="63G"), "mem = 63G: partition lab allows 64000M (MaxMemPerN", "open"),
        (Wanted("old"), "partition = old: it is DOWN", "short, lab, open"),
        (Wanted("lab", account="me"), "account = me: partition lab is for lab,guests", "open"),
        (Wanted("open", account="guests"), "account = guests: partition open is not", "lab"),
        (Wanted("lab", qos="low"), "qos = low: partition lab is for high (AllowQos)", "short"),
        (Wanted("open", qos="low"), "qos = low: partition open is not for it (DenyQos)", "short"),
        (Wanted("short,old", "30"), "time = 30: partition short allows 00:10:00", "lab, open"),
    ],
)
def test_a_job_that_no_partition_of_its_own_will_start_is_refused(
    wanted: Wanted, reason: str, others: str
) -> None:
    said = partition_problem(wanted, ROWS)
    assert said is not None
    assert reason in said
    assert ": the job would wait for ever; partitions that take it: " in said
    assert others in said
    assert said.endswith(END)


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(time="10"),
        Wanted(),
        Wanted("lab", "2-00", mem="62G", account="lab", qos="high"),
        Wanted("open", "UNLIMITED", mem="9T"),
        Wanted("short,open", "30"),
        Wanted("hidden,short", "30"),
        Wanted("lab", mem="0"),
    ],
)
def test_a_job_that_can_start_somewhere_is_not(wanted: Wanted) -> None:
    assert partition_problem(wanted, ROWS) is None


def test_the_clusters_own_limit_of_memory_holds_where_a_partition_states_none() -> None:
    assert partition_problem(Wanted("open", mem="2G"), ROWS, general_mib="UNLIMITED") is None
    said = partition_problem(Wanted("open", mem="2G"), ROWS, general_mib="1000")
    assert said is not None
    assert said.startswith("mem = 2G: partition open allows 1000M (MaxMemPerNode)")
    assert partition_problem(Wanted("lab", mem="2G"), ROWS, general_mib="1000") is None


def test_a_cluster_without_a_default_partition_leaves_the_answer_to_slurm() -> None:
    assert partition_problem(Wanted(time="30"), ROWS[1:]) is None
    assert partition_problem(Wanted(time="30"), []) is None
