"""Replays of finished curves: what each pruner would have saved, and lost."""
