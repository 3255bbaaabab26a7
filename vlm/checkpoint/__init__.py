"""The checkpoint folder: written, read, identified, and what it was trained on."""
