"""The form in which a report is corrected: a reading in, HTML out; what the browser sends back in, an `Edit` out.

Sentences can be changed, added and deleted one by one (correction_form.js), each finding set to a state.
"""

import json
from html import escape

from page.corrections import Edit
from page.study.read import Reading
from vlm.schema.findings import BLANK, FINDINGS, NEGATIVE, POSITIVE, UNCERTAIN, UNLABELED

MAX_CHARACTERS = 20_000
"""Of all that the form sends."""
_STATES = {"as the text": UNLABELED, "present": POSITIVE, "absent": NEGATIVE, "possible": UNCERTAIN, "not named": BLANK}
EMPTY = '<p class="soft">Have a report written first.</p>'
NOT_KEPT = (
    '<p class="warning">Corrections are not kept: the page was started without <code>--corrections FOLDER</code>.</p>'
)


def correction_form(reading: Reading, *, key: str) -> str:
    """The form filled with the report; `key` comes back with it."""
    sections = "".join(_section(name, reading) for name in ("Findings", "Impression"))
    options = "".join(f'<option value="{value}">{value}</option>' for value in _STATES)
    states = "".join(
        f'<label class="edit-finding"><span>{finding}</span><select data-finding="{finding}">{options}</select></label>'
        for finding in FINDINGS
    )
    return (
        f'<div id="correction" data-form="{key}">{sections}<fieldset class="edit-findings"><legend>Findings as you '
        'see them</legend><p class="soft">“As the text” takes what your text says; set only what it does not say.</p>'
        f"{states}</fieldset></div>"
    )


def read_form(sent: str, *, key: str, reader: str) -> Edit:
    """The edit that the browser sent.

    Raises:
        ValueError: it is none, is too long, or belongs to another report than the one of `key`.
    """
    if len(sent) > MAX_CHARACTERS:
        raise ValueError(f"The correction has more than {MAX_CHARACTERS} characters; shorten it.")
    try:
        form = json.loads(sent)
        findings, impression = (_text(form[name]) for name in ("findings", "impression"))
        states = tuple(_STATES[form["states"][finding]] for finding in FINDINGS)
        form_key = form["reading"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError("There is no correction to save yet: have a report written, then correct it.") from error
    if form_key != key:
        raise ValueError("The form is of another report; correct the one that is shown.")
    return Edit(findings=findings, impression=impression, states=states, reader=reader.strip())


def _text(sentences: list[str]) -> str:
    if not isinstance(sentences, list) or not all(isinstance(sentence, str) for sentence in sentences):
        raise TypeError("sentences are no list of texts")
    return " ".join(" ".join(sentence.split()) for sentence in sentences if sentence.strip())


def _section(name: str, reading: Reading) -> str:
    rows = "".join(_row(name, sentence.text) for sentence in reading.sentences if sentence.section == name)
    return (
        f'<div class="edit-section" data-section="{name.lower()}"><h3>{name}</h3>'
        f'<div class="edit-sentences">{rows}</div><template>{_row(name, "")}</template>'
        f'<button type="button" data-edit="add">Add a sentence to {name.lower()}</button></div>'
    )


def _row(section: str, text: str) -> str:
    return (
        f'<div class="edit-sentence"><textarea rows="1" aria-label="Sentence of {section.lower()}">{escape(text)}'
        '</textarea><button type="button" data-edit="delete" aria-label="Delete this sentence" '
        'title="Delete this sentence">✕</button></div>'
    )
