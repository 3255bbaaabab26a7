"""The metrics as modules for the `evaluate` library, loaded by path."""
