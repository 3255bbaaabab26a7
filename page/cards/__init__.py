"""HTML of the parts of the page."""
