"""What the server keeps: one SQLite database and a folder of blobs. Knows nothing of HTTP."""
