"""How the demo's base model was made."""
