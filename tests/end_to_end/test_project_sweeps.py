"""What a run learns of its project's sweeps, from a real server through the real client."""

from pathlib import Path
from typing import Any

from agent.server.process import running_server
from tests.end_to_end.server_client import client_of

CREATE = """
import wandb, os
def create(variant, strategy, rates, **more):
    return wandb.sweep({"method": "grid", "program": "train.py", "parameters": {
        "model_variant": {"value": variant}, "quantization_strategy": {"values": [strategy]},
        "dataset": {"value": "data"}, "learning_rate": {"values": rates}, **more}},
        entity="local", project="study")
own = create("LoRA+PTQ", "int4", [1e-4, 2e-4])
other = create("LoRA+PTQ", "int4", [2e-4, 5e-4])
qlora = create("QLoRA", "int4", [1e-4])
given_up = create("LoRA+PTQ", "int4", [9e-4])
no_grid = wandb.sweep(
    {"method": "random", "parameters": {"learning_rate": {"min": 0.0, "max": 1.0}}},
    entity="local", project="study")
answer = [own, given_up]
"""
ASK = """
from agent.config.run_config import RunConfig
from agent.tracking.project import ProjectSweeps
sweeps = ProjectSweeps()
needed = sweeps.needed()
same = next((c for c in needed if c.model_variant == "LoRA+PTQ"), None)
other = RunConfig.parse({"model_variant": "Full LoRA", "dataset": "data", "learning_rate": 1e-4})
answer = [sorted([c.model_variant, c.learning_rate] for c in needed),
          same and sweeps.peers(same), sweeps.peers(other)]
"""


def test_a_run_knows_the_points_and_the_peers_of_all_live_sweeps_of_its_project(
    tmp_path: Path,
) -> None:
    with running_server(tmp_path / "server") as server:
        client = client_of(server, tmp_path)
        own, given_up = client.python(CREATE)
        client.wandb("sweep", "--cancel", f"local/study/{given_up}")
        names = {"WANDB_ENTITY": "local", "WANDB_PROJECT": "study", "WANDB_SWEEP_ID": own}

        def ask(**env: str) -> Any:
            return client.python(ASK, **{**names, **env})

        points, peers, peers_of_another = ask()
        assert points == [
            ["LoRA+PTQ", 1e-4],
            ["LoRA+PTQ", 2e-4],
            ["LoRA+PTQ", 2e-4],
            ["LoRA+PTQ", 5e-4],
            ["QLoRA", 1e-4],
        ]
        assert peers == 3  # 2e-4 is in two sweeps and one competitor
        assert peers_of_another is None
        assert ask(WANDB_SWEEP_ID="nosuch") == [[], None, None]
        assert ask(WANDB_MODE="offline") == [[], None, None]
