"""The embedded, W&B-compatible sweep server: one process, one SQLite file, no internet."""
