"""What a node offers: one check a function, each with a judgement and what to do about it.

Whatever has to look at a GPU runs as a process, so that nothing here imports torch.
"""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from agent.file_systems import are_locks_safe
from agent.tracking import login

GB = 1e9
MIN_FREE_GB = 20.0
GPU_TIMEOUT_S = 180.0

# Run by the interpreter of the agents; prints one JSON object.
_GPU_QUESTION = """
import json, warnings
warnings.simplefilter("ignore")
found = {}
import torch
found["torch"] = torch.__version__
found["cuda_build"] = torch.version.cuda
found["available"] = torch.cuda.is_available()
if found["available"]:
    found["gpus"] = [
        [
            torch.cuda.get_device_name(i),
            torch.cuda.mem_get_info(i)[0],
            "%d.%d" % torch.cuda.get_device_capability(i),
        ]
        for i in range(torch.cuda.device_count())
    ]
import bitsandbytes as bnb
found["bitsandbytes"] = bnb.__version__
device = "cuda" if found["available"] else "cpu"
weights = torch.randn(64, 64, device=device, dtype=torch.bfloat16)
four, state = bnb.functional.quantize_4bit(weights, quant_type="nf4")
back = bnb.functional.dequantize_4bit(four, state)
found["nf4_error"] = float((back - weights).abs().max())
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Check:
    """One finding. `ok` is None where nothing is wrong but something is worth knowing."""

    name: str
    ok: bool | None
    found: str
    advice: str = ""

    @property
    def line(self) -> str:
        mark = {True: "ok  ", None: "note", False: "FAIL"}[self.ok]
        return f"{mark}  {self.name}: {self.found}" + (
            f"\n      → {self.advice}" if self.advice else ""
        )


def check_driver() -> Check:
    """The NVIDIA driver, as nvidia-smi reports it."""
    if shutil.which("nvidia-smi") is None:
        return Check(
            "driver",
            None,
            "no nvidia-smi on this node",
            "login nodes often have no GPU; look at a compute node with: sweep-agent doctor --srun",
        )
    words = ["nvidia-smi", "--query-gpu=driver_version,name,memory.total", "--format=csv,noheader"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        return Check("driver", False, done.stdout.strip() or done.stderr.strip(), "ask the admins")
    return Check("driver", True, "; ".join(done.stdout.strip().splitlines()))


def check_gpu_software() -> list[Check]:
    """torch's CUDA build and bitsandbytes' kernels, by using them once."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _GPU_QUESTION],
            capture_output=True,
            text=True,
            timeout=GPU_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [Check("torch", False, f"no answer in {GPU_TIMEOUT_S:g} s", "is the disk slow?")]
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return [Check("torch", False, reason, "install the lock file into this environment again")]
    return judge_gpu_software(json.loads(done.stdout.strip().splitlines()[-1]))


def judge_gpu_software(found: Mapping[str, object]) -> list[Check]:
    """What the answers of the GPU question mean."""
    build = found.get("cuda_build")
    if found.get("available"):
        gpus = "; ".join(
            f"{name}, {int(free) / GB:.0f} GB free, sm_{capability}"
            for name, free, capability in _rows(found.get("gpus"))
        )
        torch = Check("torch", True, f"{found['torch']}, CUDA {build}; {gpus}")
    elif build:
        torch = Check(
            "torch",
            None,
            f"{found['torch']} for CUDA {build}, but no GPU can be used here",
            "on a GPU node this means that the driver is older than the CUDA build",
        )
    else:
        torch = Check(
            "torch",
            None,
            f"{found['torch']} without CUDA",
            "for GPUs install a CUDA build of the same version",
        )
    error = found.get("nf4_error")
    sound = isinstance(error, float) and error < 1.0
    kernels = Check(
        "bitsandbytes",
        sound,
        f"{found.get('bitsandbytes')}, NF4 there and back within {error}",
        "" if sound else "the kernels compute wrongly here: use another version or node type",
    )
    return [torch, kernels]


def _rows(value: object) -> list[tuple[str, int, str]]:
    return [tuple(row) for row in value] if isinstance(value, list) else []


def check_locks(directory: Path, file_system: str | None) -> Check:
    """Locks where the store and the study lie."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=directory) as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.link(file.name, f"{file.name}.link")
            Path(f"{file.name}.link").unlink()
    except OSError as error:
        return Check(
            "file locks",
            False,
            f"{directory}: {error.strerror}",
            "put outputs/ where locks and hard links work (on Lustre: mount option flock)",
        )
    if not are_locks_safe(file_system):
        return Check(
            "file locks",
            None,
            f"{directory} is on {file_system}; locks work on this node",
            "the store needs no locks between nodes; the sweep server's data belong on local disk",
        )
    return Check("file locks", True, f"{directory} ({file_system or 'unknown file system'})")


def check_server_data(directory: Path, file_system: str | None) -> Check:
    """Whether `sweep-agent serve` would take this directory."""
    shown = f"{directory} ({file_system or 'unknown file system'})"
    if are_locks_safe(file_system):
        return Check("server data", True, shown)
    return Check(
        "server data",
        False,
        f"{shown}: cannot be locked safely, so the sweep server refuses it",
        "give serve --data a directory on a local disk; `sweep-agent backup` copies it to this one",
    )


def check_space(directory: Path, *, needed_gb: float = MIN_FREE_GB) -> Check:
    """Free space."""
    existing = next(p for p in (directory, *directory.parents) if p.exists())
    free_gb = shutil.disk_usage(existing).free / GB
    found = f"{free_gb:.0f} GB free at {directory}"
    if free_gb < needed_gb:
        return Check(
            "space",
            False,
            found,
            f"needs {needed_gb:.0f} GB: name a larger place, sweep-agent prepare --cache DIR",
        )
    return Check("space", True, found)


def check_network(url: str, *, timeout_s: float = 5.0) -> Check:
    """Whether the W&B server can be reached from here."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=timeout_s).close()
    except OSError as error:
        return Check(
            "network",
            False,
            f"{url}: {error.strerror or error}",
            "without a way to the server use the embedded one (submit --serve-in-job) or "
            "submit --offline and `wandb sync` later",
        )
    return Check("network", True, f"{url} can be reached")


def check_login(environment: Mapping[str, str], *, home: Path) -> Check:
    """Whether a job finds a key, and whether the server takes it; `environment` is the job's."""
    found = login.check_login(environment, home)
    netrc = home / ".netrc"
    if found.problem:
        advice = "" if found.is_reachable else "see network above; the key could not be tried"
        return Check("login", False if found.is_reachable else None, found.problem, advice)
    if found.source == str(netrc) and netrc.stat().st_mode & 0o077:
        return Check("login", False, f"{netrc} can be read by others", f"chmod 600 {netrc}")
    return Check("login", True, f"{found.url} takes the key in {found.source}")


def check_quota(directory: Path) -> Check:
    """The quota of this user where the site reports it: `quota`, or Lustre's `lfs quota`."""
    place = next(p for p in (directory, *directory.parents) if p.exists())
    calls = (["quota", "-w", "-p"], ["lfs", "quota", "-q", "-u", str(os.getuid()), str(place)])
    for words in calls:
        if shutil.which(words[0]) is None:
            continue
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
        found = judge_quota(done.stdout)
        if found is not None:
            return found
    return Check("quota", None, "unknown: neither `quota` nor `lfs quota` reports one here")


def judge_quota(text: str) -> Check | None:
    """The fullest of the file systems in what `quota -w` or `lfs quota -q` prints, in KiB: name,
    used, soft limit, hard limit. None when there is no limit in it.
    """
    fullest: tuple[float, str] | None = None
    for line in text.splitlines():
        words = [word.rstrip("*") for word in line.split()]
        if len(words) < 4 or not all(word.isdigit() for word in words[1:4]):
            continue
        used, soft, hard = map(int, words[1:4])
        limit = hard or soft
        if limit and (fullest is None or used / limit > fullest[0]):
            shown = f"{words[0]}: {used * 1024 / GB:.1f} of {limit * 1024 / GB:.1f} GB used"
            fullest = used / limit, shown
    if fullest is None:
        return None
    if fullest[0] > 0.95:
        return Check("quota", False, fullest[1], "make room, or put state and store elsewhere")
    return Check("quota", None if fullest[0] > 0.8 else True, fullest[1])


def check_slurm() -> Check:
    """Whether jobs can be submitted, and what the cluster does on preemption."""
    if shutil.which("scontrol") is None:
        return Check("slurm", False, "no scontrol here", "run this on a login node of the cluster")
    done = subprocess.run(
        ["scontrol", "show", "config"], capture_output=True, text=True, timeout=20, check=False
    )
    if done.returncode:
        return Check("slurm", False, " ".join(done.stderr.split()), "is the controller up?")
    return judge_slurm(done.stdout)


def judge_slurm(text: str) -> Check:
    """What `scontrol show config` means for preemption."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    settings = {name.strip(): value.strip() for name, value in pairs}
    version = settings.get("SLURM_VERSION", "unknown")
    mode = settings.get("PreemptMode", "OFF")
    accounting = settings.get("AccountingStorageType", "")
    found = f"{version}, PreemptMode={mode}, KillWait={settings.get('KillWait', '?')}"
    found += "" if "none" not in accounting else ", no accounting"
    if mode != "OFF" and "preempt_send_user_signal" not in settings.get("SlurmctldParameters", ""):
        return Check(
            "slurm",
            None,
            found,
            "preempted jobs get their notice only KillWait before the kill "
            "(SlurmctldParameters=preempt_send_user_signal would give them the whole grace time)",
        )
    return Check("slurm", True, found)
