"""What runs on the login node: submission, plan, status, checks."""
