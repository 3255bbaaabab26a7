"""Explanations: attention maps and occlusion sensitivity."""
