"""What the finished runs say: comparison, selection, figures, tables and the W&B workspace."""
