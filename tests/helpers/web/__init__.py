"""A served page and a browser, for tests."""
