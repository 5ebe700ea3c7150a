"""Runs, sweeps and artifacts brought to another W&B server."""
