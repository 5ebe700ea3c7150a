"""What is known of a training without the libraries that run it; nothing here imports torch."""
