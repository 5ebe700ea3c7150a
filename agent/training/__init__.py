"""Trainings: data, base models, adapters, the loop, the store that shares them, and their cost."""
