"""What runs say: metrics, outcomes, comparison, selection, retention, costs. Pure functions."""
