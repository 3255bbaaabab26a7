"""Self-contained HTML pages: a jinja2 template and its content become one string of HTML that opens offline.

All pages share a style (`html_page.css`); the CSS file beside a template, with the same name, adds to it. All text is
escaped. Pages have no script, and their content security policy (`style_hash`) allows no other style and no external
content.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

SHARED_STYLE = Path(__file__).with_suffix(".css")


def render_template(template: Path, *, filters: Mapping[str, Callable], **content: Any) -> str:
    """Render NAME.html.j2. `style` holds the shared style and NAME.css."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    own_style = template.with_name(template.name.replace(".html.j2", ".css"))
    style = "".join(path.read_text(encoding="utf-8") for path in (SHARED_STYLE, own_style))
    return environment.get_template(template.name).render(
        style=Markup(style),
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        **content,
    )
