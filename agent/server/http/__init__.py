"""The client's other addresses: file stream, uploads, downloads."""
