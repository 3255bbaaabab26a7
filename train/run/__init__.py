"""A run on disk: its folder, its saved states, its progress."""
