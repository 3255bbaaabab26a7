"""Metrics that need model weights or Java, loaded only when asked for."""
