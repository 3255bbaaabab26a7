"""The sentences of synthetic reports."""
