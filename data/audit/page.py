"""`audit.html`: the document of an audit as a page that opens offline and prints.

Images are inside the file, there is no script, its content policy admits nothing from outside, and every text is
escaped.
"""

import base64
import random
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from data.audit.collect import NUM_BINS, SECTIONS, STATES, WORDS_PER_BIN, image_of, read_report, read_row
from data.audit.document import RELATIONS
from data.html_page import render_template
from data.images.pixels import ImageRejected
from data.reports.near_duplicates import MIN_WORDS

TEMPLATE = Path(__file__).with_suffix(".html.j2")
SAMPLE_SIDE, PAIR_SIDE, WEBP_QUALITY = 150, 260, 70
SHOWN_PAIRS, SHOWN_NAMES, SHOWN_TEXTS = 8, 12, 4
KINDS_OF_COPIES = {"identical": "same pixels", "altered": "an altered copy", "alike": "perhaps a copy"}
CONTENTS = {
    "splits": "Splits",
    "findings": "Findings",
    "reports": "Reports",
    "images": "Images",
    "copies": "Copies",
    "labels": "Labels",
    "rejected": "Rejected",
    "sheet": "Contact sheet",
    "limits": "Limits",
}


def render_audit(document: Mapping[str, Any], *, num_samples: int, seed: int) -> str:
    """The page as one string of HTML; images and texts are read from the data set that the document names."""
    folder = document["dataset"]
    return render_template(
        TEMPLATE,
        filters={
            "count": lambda number: f"{number:,}",
            "share": lambda part, whole: f"{100 * part / whole:.1f} %" if whole else "–",
        },
        document=document,
        contents=CONTENTS,
        name=Path(folder).name,
        sections=SECTIONS,
        states=STATES.values(),
        finding_rows=_finding_rows(document["splits"]),
        histograms=_histograms(document["splits"]),
        views=_totals(document["splits"], "views"),
        images_per_study=_totals(document["splits"], "images_per_study"),
        copies=_copies(document["images"], folder),
        copied_reports=_copied_reports(document["reports"], folder),
        samples=_samples(document["splits"], folder, num_samples=num_samples, seed=seed),
        min_words=MIN_WORDS,
        shown_names=SHOWN_NAMES,
    )


def data_uri(image: Image.Image, side: int) -> str:
    """A small WebP of the image inside a URI."""
    small = image.copy()
    small.thumbnail((side, side))
    file = BytesIO()
    small.save(file, "WEBP", quality=WEBP_QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _finding_rows(splits: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a finding with its states in each split, as shares that follow each other."""
    rows = []
    names = list(next(iter(splits.values()))["findings"]) if splits else []
    for finding in names:
        bars = {}
        for split, counts in splits.items():
            start, spans = 0.0, []
            for state, count in counts["findings"][finding].items():
                width = 100 * count / max(1, counts["studies"])
                spans.append({"state": state, "count": count, "start": round(start, 2), "width": round(width, 2)})
                start += width
            bars[split] = spans
        rows.append({"finding": finding, "bars": bars})
    return rows


def _histograms(splits: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Report lengths of each split that has reports: a bar a bin, its height in percent of the highest."""
    histograms = []
    for split, counts in splits.items():
        bins = counts["report_words"]["histogram"]
        if not counts["reports"]:
            continue
        labels = [f"{place * WORDS_PER_BIN}–{(place + 1) * WORDS_PER_BIN - 1}" for place in range(NUM_BINS - 1)]
        labels.append(f"{(NUM_BINS - 1) * WORDS_PER_BIN} and more")
        histograms.append(
            {
                "split": split,
                "words": counts["report_words"],
                "bars": [
                    {"label": label, "count": count, "height": round(100 * count / max(bins), 1)}
                    for label, count in zip(labels, bins, strict=True)
                ],
            }
        )
    return histograms


def _totals(splits: Mapping[str, Any], key: str) -> list[tuple[Any, dict[str, int]]]:
    """(value, its count in each split), as the splits list them."""
    values = list(dict.fromkeys(value for counts in splits.values() for value in counts[key]))
    return [(value, {split: counts[key].get(value, 0) for split, counts in splits.items()}) for value in values]


def _copies(images: Mapping[str, Any], folder: str) -> list[dict[str, Any]]:
    """The worst copies with two of their images: as many of each kind as there is room for, across splits first."""
    shown = []
    for kind, meaning in KINDS_OF_COPIES.items():
        for entry in images[kind]["listed"][:SHOWN_PAIRS]:
            two = []
            for owner in entry["images"][:2]:
                image = image_of(folder, (owner["split"], owner["row"]), owner["view"] - 1)
                two.append({**owner, "uri": data_uri(image, PAIR_SIDE)})
            shown.append({**entry, "images": two, "meaning": meaning, "more": entry.get("count", 2) - 2})
    return _worst_first(shown)


def _copied_reports(reports: Mapping[str, Any], folder: str) -> list[dict[str, Any]]:
    shown = []
    for entry in _worst_first([*reports["equal"]["listed"], *reports["near"]["listed"]])[:SHOWN_TEXTS]:
        two = []
        for study in entry["studies"][:2]:
            two.append({**study, "text": read_report(folder, study["split"], study["row"])})
        shown.append({**entry, "studies": two})
    return shown


def _worst_first(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(entries, key=lambda entry: RELATIONS.index(entry["relation"]))


def _samples(
    splits: Mapping[str, Any], folder: str, *, num_samples: int, seed: int
) -> list[tuple[str, Sequence[dict[str, Any]]]]:
    """An image of each of some studies drawn by lot, for each split."""
    sheet = []
    for split, counts in splits.items():
        rows = random.Random(f"{seed} {split}").sample(range(counts["studies"]), min(num_samples, counts["studies"]))
        shown = []
        for row in sorted(rows):
            study = read_row(folder, split, row)
            try:
                uri = data_uri(image_of(folder, (split, row), 0), SAMPLE_SIDE)
            except (ImageRejected, IndexError):
                uri = ""
            view = (study["view_positions"] or ["UNKNOWN"])[0]
            shown.append({"study_id": study["study_id"], "view": view, "uri": uri})
        if shown:
            sheet.append((split, shown))
    return sheet
