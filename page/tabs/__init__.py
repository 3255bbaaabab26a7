"""The tabs of the page and the events of their buttons."""
