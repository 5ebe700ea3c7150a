"""The unmodified wandb client in processes of its own, pointed at one of our servers."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from agent.server.process import ServerAddress

WANDB = str(Path(sys.executable).with_name("wandb"))


class Client:
    """A working directory and the environment of a user."""

    def __init__(
        self, work: Path, env: dict[str, str], program: tuple[str, ...] = (WANDB,)
    ) -> None:
        self.work, self.program = work, program
        (work / "home").mkdir(parents=True, exist_ok=True)
        own = {
            "HOME": str(work / "home"),
            "WANDB_DIR": str(work),
            "WANDB_CACHE_DIR": str(work / "cache"),
            "WANDB_CONFIG_DIR": str(work / "config"),
            "WANDB_DATA_DIR": str(work / "staging"),
            "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1",
            "WANDB_AGENT_DISABLE_FLAPPING": "true",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
        self.env = {**kept, **own, **env}

    def wandb(self, *words: str, check: bool = True, timeout_s: float = 90) -> str:
        """What the command said, on both outputs."""
        return self._run([*self.program, *words], self.env, timeout_s, check=check)

    def _run(
        self, words: list[str], env: dict[str, str], timeout_s: float, *, check: bool = True
    ) -> str:
        done = subprocess.run(
            words,
            cwd=self.work,
            env=env,
            timeout=timeout_s,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0 or not check, done.stdout
        return done.stdout

    def start(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*self.program, *words],
            cwd=self.work,
            env=self.env,
            text=True,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def python(self, code: str, timeout_s: float = 90, **env: str) -> Any:
        """Run code that ends with `answer = …`; the answer comes back through JSON."""
        script = f"{code}\nimport json\nprint('\\n@' + json.dumps(answer))\n"
        said = self._run([sys.executable, "-c", script], {**self.env, **env}, timeout_s)
        return json.loads(said.rsplit("\n@", 1)[1].splitlines()[0])

    def make_sweep(self, config: str, program: str, *options: str) -> str:
        """`wandb sweep`; the path of the new sweep."""
        (self.work / "train.py").write_text(program)
        (self.work / "sweep.yaml").write_text(config)
        said = self.wandb("sweep", "--project", "study", *options, "sweep.yaml")
        (path,) = (line.split()[-1] for line in said.splitlines() if "wandb agent" in line)
        return str(path)


def client_of(server: ServerAddress, work: Path) -> Client:
    return Client(work, server.env)
