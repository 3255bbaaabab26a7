"""The training loop: tasks, optimizer steps, validation."""
