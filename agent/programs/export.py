"""`sweep-agent export RUN DIR`: the adapter of a run as a plain PEFT folder with a model card."""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from agent import files
from agent.errors import StoreError
from agent.programs.store import DEFAULT_STORE
from agent.training import run_registry, store
from agent.training.run_registry import RunNote

_CARD = """---
base_model: {base_model}
library_name: peft
tags: [lora, sweep-agent]
---
# {title}

An adapter for `{base_model}`{revision}, trained by W&B run `{run}`.

{scores}
| | |
|---|---|
| contents of the base model | `{base_digest}` |
| training data | `{data_digest}` |
| training in the store | `{training}`, {point} |
| training seconds | {seconds:.1f} |

How it was served when it was scored: `deployment.json`.

```python
from peft import AutoPeftModelForCausalLM

model = AutoPeftModelForCausalLM.from_pretrained("{folder}")
```

Configuration:

```json
{config}
```
"""


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="id of the W&B run")
    parser.add_argument("directory", type=Path, metavar="DIR", help="is created")
    parser.add_argument("--store", type=Path, default=DEFAULT_STORE, help="default %(default)s")


def run_export(args: argparse.Namespace) -> int:
    export(args.store, args.run, args.directory)
    print(f"{args.directory}: adapter, deployment.json and README.md of run {args.run}")
    return 0


def export(root: Path, run: str, directory: Path) -> None:
    """Write the folder. StoreError when the run has no point, or gc has removed its adapter."""
    note = run_registry.read(root, run)
    if not note.point:
        raise StoreError(f"run {run!r} has not reached its end; its state is {note.state}")
    checkpoint = store.read_checkpoint(root / note.point)
    if checkpoint is None or not checkpoint.adapter.is_dir():
        raise StoreError(f"{root / note.point}: its adapter is damaged or was removed by store gc")
    if directory.exists() and any(directory.iterdir()):
        raise StoreError(f"{directory}: is not empty; name a new directory")
    shutil.copytree(checkpoint.adapter, directory, dirs_exist_ok=True)
    settings = json.loads((directory / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = str(note.config["base_model"])
    settings["revision"] = note.config.get("base_revision")
    files.write_json(directory / "adapter_config.json", settings)
    files.write_atomically(directory / "deployment.json", note.description)
    identity = json.loads((root / note.training / "identity.json").read_text())
    files.write_atomically(
        directory / "README.md", _card(note, identity, checkpoint, root, directory)
    )


def _card(
    note: RunNote, identity: Any, checkpoint: store.Checkpoint, root: Path, directory: Path
) -> str:
    config = note.config
    strategy = config["quantization_strategy"]
    revision = f" at revision `{config['base_revision']}`" if config.get("base_revision") else ""
    return _CARD.format(
        title=f"{config['model_variant']}{'' if strategy == 'None' else ' ' + strategy}",
        base_model=config["base_model"],
        revision=revision,
        run=note.run,
        scores=_score_table(root / note.scores / "scores.json"),
        base_digest=identity["base"],
        data_digest=identity["data"],
        training=note.training,
        point=checkpoint.path.name,
        seconds=checkpoint.record["cost"]["train_seconds"],
        folder=directory.name,
        config=json.dumps(dict(config), indent=1, ensure_ascii=False),
    )


def _score_table(file: Path) -> str:
    try:
        metrics = json.loads(file.read_text())["metrics"]
    except (OSError, ValueError, KeyError):
        return ""
    rows = [f"| {name} | {value:.4f} |" for name, value in metrics.items()]
    return "\n".join(["| score on the validation data | |", "|---|---|", *rows, ""])
