"""The model card on the page: its text, and nothing that runs or is fetched."""

from page.cards.layout import MAX_CHARACTERS, model_card
from tests.helpers.html import ATTACK, Tags


def test_card_is_shown_without_its_front_matter(tmp_path):
    (tmp_path / "README.md").write_text(
        "---\nlicense: x\n---\n\n# Card\n\n## Data\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    )
    html = model_card(tmp_path)
    assert "license" not in html
    assert "<h3>Card</h3>" in html
    assert "<h4>Data</h4>" in html
    assert "<td>1</td>" in html


def test_wide_tables_and_code_scroll_on_their_own_and_by_keyboard(tmp_path):
    (tmp_path / "README.md").write_text("| a | b |\n|---|---|\n| 1 | 2 |\n\n```sh\nmake demo\n```\n")
    html = model_card(tmp_path)
    assert '<div class="wide" role="region" aria-label="Table" tabindex="0"><table>' in html
    assert html.count("<div") == html.count("</div>") == 1
    assert '<pre tabindex="0"><code class="language-sh">make demo' in html


def test_html_scripts_and_images_of_a_card_are_escaped_or_removed(tmp_path):
    text = f"{ATTACK}\n\n![x](https://example.org/x.png) [bad](javascript:alert(1)) [good](https://example.org)"
    (tmp_path / "README.md").write_text(text)
    tags = Tags(model_card(tmp_path))
    assert tags.tags <= {"p", "a"}
    assert tags.attributes <= {"href"}
    assert 'href="javascript' not in model_card(tmp_path)


def test_missing_card_says_so(tmp_path):
    assert "has no model card" in model_card(tmp_path)


def test_too_long_card_is_cut(tmp_path):
    (tmp_path / "README.md").write_text("x" * 3 * MAX_CHARACTERS)
    assert len(model_card(tmp_path)) < 2 * MAX_CHARACTERS
