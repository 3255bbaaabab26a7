"""Checks of reports and attention: consistency, contradictions, grounding."""
