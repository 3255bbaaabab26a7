"""Corrections that readers made on the web page: one record, and the store of all."""
