"""Programs that tests start, and functions that run in other processes."""
