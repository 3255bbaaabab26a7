"""Evaluation: scores with controls and intervals from predictions and references."""
