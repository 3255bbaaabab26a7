"""HTML pages: style, escaping and content security policy."""

import base64
import hashlib

import jinja2
import pytest

from data.html_page import SHARED_STYLE, render_template


def written(folder, template, **content):
    (folder / "one.html.j2").write_text(template)
    (folder / "one.css").write_text("h1 { color: red; }\n")
    return render_template(folder / "one.html.j2", filters={"twice": lambda text: text * 2}, **content)


def test_a_page_has_the_shared_style_and_its_own_and_allows_no_other(tmp_path):
    style, style_hash = written(tmp_path, "{{ style }}|{{ style_hash }}").split("|")
    assert style == SHARED_STYLE.read_text(encoding="utf-8") + "h1 { color: red; }\n"
    assert base64.b64decode(style_hash) == hashlib.sha256(style.encode()).digest()


def test_script_beside_the_template_is_the_only_one_of_a_page(tmp_path):
    assert written(tmp_path, "[{{ script }}]") == "[]"
    (tmp_path / "one.js").write_text("if (1 < 2) alert(3);\n")
    script, script_hash = written(tmp_path, "{{ script }}|{{ script_hash }}").split("|")
    assert script == "if (1 < 2) alert(3);\n"
    assert base64.b64decode(script_hash) == hashlib.sha256(script.encode()).digest()


def test_texts_are_escaped_and_filters_are_available(tmp_path):
    page = written(tmp_path, "{{ text | twice }}", text="<b>&")
    assert page == "&lt;b&gt;&amp;&lt;b&gt;&amp;"


def test_missing_content_is_an_error(tmp_path):
    with pytest.raises(jinja2.UndefinedError, match="'absent' is undefined"):
        written(tmp_path, "{{ absent }}")
