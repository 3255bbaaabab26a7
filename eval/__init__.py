"""Judging: figures with controls and intervals from predictions and references."""
