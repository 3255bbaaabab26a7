"""Predictions: generated, read from files of any kind, matched with references."""
