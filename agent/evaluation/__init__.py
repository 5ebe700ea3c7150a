"""Evaluation: deployments built from stored adapters, generation, scores, inference benchmark."""
