"""W&B: runs that train, and the reading of runs and sweeps. The only importer of wandb."""
