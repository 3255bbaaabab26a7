"""Speed and memory as ratios to named references."""
