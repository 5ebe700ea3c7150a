"""Programs beside train.py, and the commands that start them."""
