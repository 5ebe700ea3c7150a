"""Base models: what their layers are, and whether one is what a cell takes it for."""
