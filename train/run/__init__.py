"""A run on disk and on the console: folder, saved states, progress bar."""
