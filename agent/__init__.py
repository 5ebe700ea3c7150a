"""A W&B-Sweeps-driven search for the cheapest LoRA variant that keeps its quality."""
