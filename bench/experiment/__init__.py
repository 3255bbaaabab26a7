"""Experiments that repeat training with one thing changed."""
