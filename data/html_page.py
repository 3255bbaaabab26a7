"""Self-contained HTML pages: a jinja2 template and its content become one string of HTML that opens offline.

All pages share a style (`html_page.css`); the CSS file beside a template, with the same name, adds to it. A JS file
beside it is the only script of the page. All text is escaped. The content security policy of a page (`style_hash`,
`script_hash`) allows no other style, no other script and no external content.
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
    """Render NAME.html.j2. `style` holds the shared style and NAME.css, `script` NAME.js; "" without this file."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    name = template.name.removesuffix(".html.j2")
    own_style, own_script = (template.with_name(name + suffix) for suffix in (".css", ".js"))
    style = "".join(path.read_text(encoding="utf-8") for path in (SHARED_STYLE, own_style))
    script = own_script.read_text(encoding="utf-8") if own_script.is_file() else ""
    return environment.get_template(template.name).render(
        style=Markup(style),
        style_hash=_hash(style),
        script=Markup(script),
        script_hash=_hash(script),
        **content,
    )


def _hash(source: str) -> str:
    return base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
