"""Corrections that readers made on the web page: the record of one, and the store of all."""
