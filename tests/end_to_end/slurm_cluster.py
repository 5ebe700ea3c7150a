"""A real, throw-away Slurm: munged, slurmctld and slurmd as plain processes in one directory.

No systemd, cgroups, database or root. `SlurmCluster.start` brings two virtual nodes up in about a
second; `stop` ends what `start` started, by process id.

Partitions: `main` (default), `scav` (preempted by requeue), `cancel` (preempted by cancelling),
`hi` (preempts both).
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol", "scancel")
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
GRACE_S = 6  # between the notice of a preemption and the kill
REQUEUE_DELAY_S = 5  # Slurm's minimum; 120 without it


def missing_programs() -> list[str]:
    """What is not installed of a Slurm with munge; empty when a cluster can be started."""
    return [name for name in PROGRAMS if shutil.which(name, path=SEARCH_PATH) is None]


needs_slurm = pytest.mark.skipif(
    bool(missing_programs()),
    reason=f"no Slurm here ({', '.join(missing_programs())} not installed); "
    "apt install slurmctld slurmd slurm-client munge",
)


@dataclass
class SlurmCluster:
    """One running cluster. `environment` is what a user of it needs."""

    directory: Path
    nodes: int = 2
    cpus_per_node: int = 2
    gpus_per_node: int = 1
    gpu_types: tuple[str, ...] = ()  # of the nodes in turn; none: GPUs without a type
    _started: list[int] = field(default_factory=list)

    # ------------------------------------------------------------------ life
    def start(self) -> None:
        self._write_configuration()
        run = self.directory / "run"
        self._call(
            "munged",
            "--force",
            f"--key-file={self.directory / 'etc/munge.key'}",
            f"--socket={run / 'munge.sock'}",
            f"--pid-file={run / 'munged.pid'}",
            f"--log-file={self.directory / 'log/munged.log'}",
            f"--seed-file={run / 'munge.seed'}",
            "--num-threads=2",
        )
        self._call("slurmctld", "-c")
        for name in self.node_names:
            self.start_node(name)
        wait_until(self._nodes_are_idle, timeout_s=40, what="all nodes to be idle")

    def start_node(self, name: str) -> None:
        (self.directory / "run" / f"spool-{name}").mkdir(exist_ok=True)
        self._call("slurmd", "-N", name)

    def stop(self) -> None:
        """End all jobs, then every daemon that was started; nothing is left running."""
        with contextlib.suppress(subprocess.SubprocessError, OSError):
            self.run("scancel", "--user", str(os.getuid()), timeout_s=10)
            wait_until(lambda: not self.run("squeue", "-h").strip(), timeout_s=20, what="no jobs")
        names = [*(f"slurmd-{name}" for name in self.node_names), "slurmctld", "munged"]
        pids = [pid for name in names if (pid := self._pid_of(name)) is not None]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        for pid in pids:
            try:
                wait_until(partial(_is_gone, pid), timeout_s=10, what=f"end of {pid}")
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    # ------------------------------------------------------------------ use
    @property
    def node_names(self) -> list[str]:
        return [f"n{index + 1}" for index in range(self.nodes)]

    @property
    def environment(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.directory / "etc/slurm.conf"), "PATH": SEARCH_PATH}

    def run(
        self,
        *words: str,
        timeout_s: float = 30,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> str:
        """Standard output of a Slurm command; CalledProcessError, with its words, when it fails."""
        return subprocess.run(
            words,
            env={**os.environ, **self.environment, **(environment or {})},
            cwd=directory or self.directory,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=True,
        ).stdout

    def sbatch(
        self, *words: str, directory: Path, environment: Mapping[str, str] | None = None
    ) -> str:
        """Submit; the job id."""
        text = self.run(
            "sbatch", "--parsable", *words, directory=directory, environment=environment
        )
        return text.strip().split(";")[0]

    def state_of(self, job: str) -> str:
        """JobState, as `scontrol` prints it; empty when Slurm has forgotten the job."""
        return self.fields_of(job).get("JobState", "")

    def fields_of(self, job: str) -> dict[str, str]:
        with contextlib.suppress(subprocess.CalledProcessError):
            text = self.run("scontrol", "--oneliner", "show", "job", job)
            return dict(word.split("=", 1) for word in text.split() if "=" in word)
        return {}

    def wait_for_state(self, job: str, *states: str, timeout_s: float = 60) -> str:
        wait_until(
            lambda: self.state_of(job) in states, timeout_s=timeout_s, what=f"{job} to be {states}"
        )
        return self.state_of(job)

    def wait_for_end(self, *jobs: str, timeout_s: float) -> None:
        """Until nothing of these jobs waits or runs."""
        wait_until(
            lambda: not any(self.run("squeue", "-h", "--jobs", job).strip() for job in jobs),
            timeout_s=timeout_s,
            what=f"the end of {jobs}",
        )

    def wait_for_restart(self, task: str, timeout_s: float = 180) -> None:
        """Until Slurm has put the task back into its queue, as after its node died."""
        wait_until(
            lambda: self.fields_of(task).get("Restarts", "0") != "0",
            timeout_s=timeout_s,
            what=f"{task} to be requeued",
        )

    def kill_node(self, name: str) -> None:
        """The node's daemon and its step daemons die at once, as with a power cut; what they
        started lives on as orphans.
        """
        pid = self._pid_of(f"slurmd-{name}")
        log = self.directory / "log" / f"slurmd-{name}.log"
        steps = [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and _is_step_daemon(entry, log)
        ]
        for each in [*([pid] if pid else []), *steps]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)

    # ------------------------------------------------------------------ inside
    def _call(self, *words: str) -> None:
        path = shutil.which(words[0], path=SEARCH_PATH)
        assert path is not None, f"{words[0]} is not installed"
        with (self.directory / "log" / f"{words[0]}.out").open("ab") as log:
            subprocess.run(
                [path, *words[1:]],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=30,
                check=True,
            )

    def _pid_of(self, name: str) -> int | None:
        try:
            pid = int((self.directory / "run" / f"{name}.pid").read_text())
        except (OSError, ValueError):
            return None
        return pid if _is_alive(pid) else None

    def _nodes_are_idle(self) -> bool:
        with contextlib.suppress(subprocess.SubprocessError):
            names = self.run("sinfo", "-h", "-N", "-t", "idle", "-o", "%N", timeout_s=5).split()
            return len(set(names)) == self.nodes
        return False

    def _write_configuration(self) -> None:
        for name in ("etc", "run", "log", "state"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
            (self.directory / name).chmod(0o755)
        key = self.directory / "etc/munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        (self.directory / "etc/slurm.conf").write_text(self._slurm_conf())
        (self.directory / "etc/gres.conf").write_text(self._gres_conf())

    def _slurm_conf(self) -> str:
        controller, first_node = _free_port(), _free_port()
        host, user = socket.gethostname().split(".")[0], _user_name()
        lines = [
            _CONFIGURATION.format(
                d=self.directory,
                host=host,
                user=user,
                port=controller,
                node_port=first_node,
                delay=REQUEUE_DELAY_S,
            )
        ]
        memory_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 // self.nodes
        for name in self.node_names:
            kind = f"{self._type_of(name)}:" if self.gpu_types else ""
            gres = f" Gres=gpu:{kind}{self.gpus_per_node}" if self.gpus_per_node else ""
            lines.append(
                f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={_free_port()} "
                f"CPUs={self.cpus_per_node} RealMemory={memory_mib}{gres} State=UNKNOWN"
            )
        return "\n".join([*lines, _PARTITIONS.format(grace=GRACE_S)])

    def _gres_conf(self) -> str:
        files = "/dev/null"  # a fake GPU must be a device node; its digit becomes the GPU's number
        if self.gpus_per_node > 1:
            for index in range(self.gpus_per_node):
                path = self.directory / "run" / f"gpu{index}"
                os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
            files = f"{self.directory}/run/gpu[0-{self.gpus_per_node - 1}]"
        kinds = {
            name: f" Type={self._type_of(name)}" * bool(self.gpu_types) for name in self.node_names
        }
        return "\n".join(f"NodeName={n} Name=gpu{kinds[n]} File={files}" for n in self.node_names)

    def _type_of(self, name: str) -> str:
        """Of a node's GPUs; empty where they have none."""
        index = self.node_names.index(name)
        return self.gpu_types[index % len(self.gpu_types)] if self.gpu_types else ""


_CONFIGURATION = """\
ClusterName=throwaway
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={d}/run/munge.sock,cred_expire={delay}
SlurmctldPort={port}
SlurmdPort={node_port}
SlurmctldPidFile={d}/run/slurmctld.pid
SlurmdPidFile={d}/run/slurmd-%n.pid
SlurmctldLogFile={d}/log/slurmctld.log
SlurmdLogFile={d}/log/slurmd-%n.log
StateSaveLocation={d}/state
SlurmdSpoolDir={d}/run/spool-%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=5
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
ReturnToService=2
SlurmdParameters=config_overrides
JobRequeue=1
KillWait=12
MinJobAge=600
InactiveLimit=0
SlurmctldTimeout=30
SlurmdTimeout=15
MessageTimeout=10
SlurmctldDebug=info
SlurmdDebug=info
MailProg=/bin/true
JobCompType=jobcomp/filetxt
JobCompLoc={d}/log/jobcomp.txt
AccountingStorageType=accounting_storage/none
GresTypes=gpu
"""
_PARTITIONS = """\
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 OverTimeLimit=0
PartitionName=hi Nodes=ALL Default=NO MaxTime=INFINITE State=UP PriorityTier=9 PreemptMode=OFF
PartitionName=scav Nodes=ALL Default=NO MaxTime=INFINITE State=UP PriorityTier=0 \
PreemptMode=REQUEUE GraceTime={grace}
PartitionName=cancel Nodes=ALL Default=NO MaxTime=INFINITE State=UP PriorityTier=0 \
PreemptMode=CANCEL GraceTime={grace}
"""


def wait_until(condition: Callable[[], bool], *, timeout_s: float, what: str) -> None:
    """TimeoutError that names `what` when the condition has not come true in time."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {timeout_s:g} s for {what}")
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def _user_name() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _is_gone(pid: int) -> bool:
    return not _is_alive(pid)


def _is_step_daemon(entry: Path, log: Path) -> bool:
    """True for a slurmstepd that writes to this node's log."""
    try:
        if not (entry / "cmdline").read_bytes().startswith(b"slurmstepd"):
            return False
        return any(link.readlink() == log for link in (entry / "fd").iterdir())
    except OSError:
        return False


if __name__ == "__main__":  # python -m tests.end_to_end.slurm_cluster start|stop DIRECTORY
    cluster = SlurmCluster(Path(sys.argv[2]))
    getattr(cluster, sys.argv[1])()
    print("".join(f"export {k}={v}\n" for k, v in cluster.environment.items()))
