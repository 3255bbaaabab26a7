"""The parts of the page as HTML, from jinja2 templates."""
