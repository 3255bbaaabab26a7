"""The metrics as modules of the `evaluate` library, loaded by path."""
