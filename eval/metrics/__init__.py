"""Metrics: strings or label arrays in, scores per study out. No torch."""
