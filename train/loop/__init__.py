"""The training loop: one step, validation, the trainer."""
