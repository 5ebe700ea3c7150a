"""DoRA (arXiv 2402.09353) as one more adapter method."""

from peft import LoraConfig

from agent.config.run_config import RunConfig
from agent.training import adapters


def build(config: RunConfig) -> LoraConfig:
    return LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
        use_dora=True,
    )


adapters.register("dora", build, "low-rank update of direction, magnitude on its own")
