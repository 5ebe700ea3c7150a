"""Where the API key comes from on a compute node: never argv, script text or Slurm's own state.

Slurm stores the environment of the caller of sbatch; `--export=NONE` keeps it out, so a job finds
its key in a file that only its owner can read: a key file, or ~/.netrc as `wandb login` writes it.
"""

import stat
from collections.abc import Mapping
from pathlib import Path

from agent.errors import ClusterError

ENVIRONMENT_NAME = "WANDB_API_KEY"


def read_key(path: Path) -> str:
    """The key in `path`. ClusterError when others can read the file or it holds no key."""
    if path.is_dir():
        raise ClusterError(f"key file {path}: is a directory; name the file that holds the key")
    return read_private_word(path, f"key file {path}", "key", written="the W&B API key")


def read_private_word(path: Path, subject: str, noun: str, *, written: str) -> str:
    """The one word in a file with a secret. ClusterError, about `subject`, when others can read the
    file or it holds not one `noun`; `written` is what belongs into it.
    """
    try:
        check_private(path, subject)
        words = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not text"
        start = subject.removesuffix(":")
        raise ClusterError(f"{start}: {reason}; write {written} into it") from None
    if len(words) != 1:
        raise ClusterError(f"{subject} must hold one {noun} and nothing else")
    return words[0]


def check_private(path: Path, subject: str) -> None:
    """ClusterError when others can read a file with a secret. OSError when there is none."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise ClusterError(
            f"{subject} can be read by others (mode {mode:04o}); run: chmod 600 {path}"
        )


def with_key(environment: Mapping[str, str], key_file: Path | None) -> dict[str, str]:
    """The environment of a child that talks to W&B; without a key file it relies on ~/.netrc."""
    if key_file is None:
        return dict(environment)
    return {**environment, ENVIRONMENT_NAME: read_key(key_file)}
