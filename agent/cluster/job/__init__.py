"""What runs on the compute node: supervisor, workers, and the sources of their work."""
