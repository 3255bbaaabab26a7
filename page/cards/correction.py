"""The correction form as HTML, and the `Edit` from what the browser sends back.

Sentences can be changed, added and deleted (correction_form.js), and each finding can be set to a state.
"""

import json

from page.cards.layout import render
from page.study.edit import Edit
from page.study.findings import STATE_WORDS
from page.study.read import StudyReading
from vlm.schema.findings import FINDING_INDEX, FINDINGS, UNLABELED

MAX_CHARACTERS = 20_000
"""Maximum number of characters in a submitted form."""
_STATES = {"from the text": UNLABELED, **{words: label for label, words in STATE_WORDS.items()}}
EMPTY = render("correction", reading=None)


def correction_form(reading: StudyReading, *, key: str) -> str:
    """The form, filled with the report; the browser sends `key` back with it."""
    return render("correction", reading=reading, key=key, findings=FINDINGS, states=list(_STATES))


def read_form(sent: str, *, key: str, reader: str) -> Edit:
    """The edit that the browser sent.

    Raises:
        ValueError: it is not a form, is too long, or belongs to another report than `key`.
    """
    if len(sent) > MAX_CHARACTERS:
        raise ValueError(f"The correction has more than {MAX_CHARACTERS} characters; shorten it.")
    try:
        form = json.loads(sent)
        findings, impression = (_text(form[name]) for name in ("findings", "impression"))
        states = tuple(_STATES[form["states"][finding]] for finding in FINDINGS)
        form_key = form["reading"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError("There is no correction to save yet: write a report first, then correct it.") from error
    if form_key != key:
        raise ValueError("The form belongs to another report; correct the one that is shown.")
    return Edit(findings=findings, impression=impression, states=states, reader=reader.strip())


def edit_of_texts(findings: str, impression: str, states: dict[str, str], *, reader: str) -> Edit:
    """The edit that a program sent: whole texts, and the states of findings in words; other findings are not set.

    Raises:
        ValueError: it is too long, or a finding or state is unknown.
    """
    if len(findings) + len(impression) > MAX_CHARACTERS:
        raise ValueError(f"The correction has more than {MAX_CHARACTERS} characters; shorten it.")
    if not isinstance(states, dict):
        raise ValueError('states is no object; give one such as {"Pneumonia": "absent"}')
    for finding, state in states.items():
        if finding not in FINDING_INDEX:
            raise ValueError(f"there is no finding {finding!r}; choose one of {', '.join(FINDINGS)}")
        if state not in STATE_WORDS.values():
            raise ValueError(f"{finding} has the state {state!r}; choose one of {', '.join(STATE_WORDS.values())}")
    return Edit(
        findings=_text([findings]),
        impression=_text([impression]),
        states=tuple(_STATES[states[finding]] if finding in states else UNLABELED for finding in FINDINGS),
        reader=reader.strip(),
    )


def _text(sentences: list[str]) -> str:
    if not isinstance(sentences, list) or not all(isinstance(sentence, str) for sentence in sentences):
        raise TypeError("sentences must be a list of strings")
    return " ".join(" ".join(sentence.split()) for sentence in sentences if sentence.strip())
