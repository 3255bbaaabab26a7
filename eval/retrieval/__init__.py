"""Nearest studies by image features."""
