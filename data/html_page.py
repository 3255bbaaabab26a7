"""Pages that are written to a file and open offline: a template and content in, one string of HTML out.

They share a look (`written_page.css`), to which the style beside a template, of the same name, adds. Every text is
escaped; there is no script, and the page's content policy (`style_hash`) admits no other style and nothing from
outside.
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
    """The template NAME.html.j2 filled in, with the style of all pages and that of NAME.css as `style`."""
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
