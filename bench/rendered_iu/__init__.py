"""Real report language on synthetic images."""
