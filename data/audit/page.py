"""Page of an audit, `audit.html`. It opens offline and prints.

Images are inside the file. There is no script, the content security policy allows nothing from outside, and all text is
escaped.
"""

import base64
import random
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from data.audit.collect import NUM_BINS, SECTIONS, STATES, WORDS_PER_BIN, read_report, read_row, read_stored_image
from data.audit.document import RELATIONS
from data.html_page import render_template
from data.images.pixels import ImageRejected
from vlm.schema.findings import CHANGES
from vlm.schema.number_format import format_percent

TEMPLATE = Path(__file__).with_suffix(".html.j2")
SAMPLE_SIDE, PAIR_SIDE, WEBP_QUALITY = 150, 260, 70
SHOWN_PAIRS, SHOWN_NAMES, SHOWN_TEXTS = 8, 12, 4
KINDS_OF_COPIES = {"identical": "identical pixels", "altered": "altered copy", "similar": "possible copy"}
_STARTS = range(0, NUM_BINS * WORDS_PER_BIN, WORDS_PER_BIN)
BIN_LABELS = (*(f"{start}–{start + WORDS_PER_BIN - 1}" for start in _STARTS[:-1]), f"{_STARTS[-1]} or more")


def render_audit(document: Mapping[str, Any], *, num_samples: int, seed: int) -> str:
    """The page as HTML. Images and texts are read from the data set that the document names."""
    folder, splits = document["dataset"], document["splits"]
    return render_template(
        TEMPLATE,
        filters={
            "count": lambda number: f"{number:,}",
            "share": lambda part, whole: format_percent(part / whole if whole else None),
            "percent": lambda share: format_percent(share, decimals=0),
        },
        document=document,
        name=Path(folder).name,
        sections=SECTIONS,
        states=STATES.values(),
        changes=CHANGES,
        finding_rows=_finding_rows(splits),
        histograms={split: _histogram(counts) for split, counts in splits.items() if counts["reports"]},
        views=_by_value(splits, "views"),
        images_per_study=_by_value(splits, "images_per_study"),
        copies=_copies(document["images"], folder),
        copied_reports=_copied_reports(document["reports"], folder),
        samples=_samples(splits, folder, num_samples=num_samples, seed=seed),
        shown_names=SHOWN_NAMES,
    )


def _data_uri(image: Image.Image, side: int) -> str:
    """The image as a URI of a small WebP file."""
    small = image.copy()
    small.thumbnail((side, side))
    file = BytesIO()
    small.save(file, "WEBP", quality=WEBP_QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _finding_rows(splits: Mapping[str, Any]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """By finding and split: each state with its count, and its place in a stacked bar in percent."""
    rows = {}
    for split, counts in splits.items():
        for finding, states in counts["findings"].items():
            start, spans = 0.0, []
            for state, count in states.items():
                width = 100 * count / max(1, counts["studies"])
                spans.append({"state": state, "count": count, "start": round(start, 2), "width": round(width, 2)})
                start += width
            rows.setdefault(finding, {})[split] = spans
    return rows


def _histogram(counts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A bar for each bin of report lengths; its height is in percent of the highest bar."""
    bins = counts["report_words"]["histogram"]
    return [
        {"label": label, "count": count, "height": round(100 * count / max(bins), 1)}
        for label, count in zip(BIN_LABELS, bins, strict=True)
    ]


def _by_value(splits: Mapping[str, Any], key: str) -> dict[Any, dict[str, int]]:
    """The count in each split of each value under a key, such as each view position."""
    values = dict.fromkeys(value for counts in splits.values() for value in counts[key])
    return {value: {split: counts[key].get(value, 0) for split, counts in splits.items()} for value in values}


def _copies(images: Mapping[str, Any], folder: str) -> list[dict[str, Any]]:
    """The worst copies of each kind, with two of their images each, across splits first."""
    shown = []
    for kind, meaning in KINDS_OF_COPIES.items():
        for entry in images[kind]["listed"][:SHOWN_PAIRS]:
            pair = []
            for image in entry["images"][:2]:
                stored = read_stored_image(folder, (image["split"], image["row"]), image["view"] - 1)
                pair.append({**image, "uri": _data_uri(stored, PAIR_SIDE)})
            shown.append({**entry, "images": pair, "meaning": meaning, "more": entry.get("count", 2) - 2})
    return sorted(shown, key=_badness)


def _copied_reports(reports: Mapping[str, Any], folder: str) -> list[dict[str, Any]]:
    def with_text(study: dict[str, Any]) -> dict[str, Any]:
        return study | {"text": read_report(folder, (study["split"], study["row"]))}

    entries = sorted([*reports["equal"]["listed"], *reports["near"]["listed"]], key=_badness)[:SHOWN_TEXTS]
    return [entry | {"studies": [with_text(study) for study in entry["studies"][:2]]} for entry in entries]


def _badness(entry: Mapping[str, Any]) -> int:
    return RELATIONS.index(entry["relation"])


def _samples(splits: Mapping[str, Any], folder: str, *, num_samples: int, seed: int) -> dict[str, list[dict[str, Any]]]:
    """The first image of some random studies of each split."""
    samples = {}
    for split, counts in splits.items():
        rows = random.Random(f"{seed} {split}").sample(range(counts["studies"]), min(num_samples, counts["studies"]))
        for row in sorted(rows):
            study = read_row(folder, (split, row))
            try:
                uri = _data_uri(read_stored_image(folder, (split, row), 0), SAMPLE_SIDE)
            except (ImageRejected, IndexError):
                uri = ""
            view = (study["view_positions"] or ["UNKNOWN"])[0]
            samples.setdefault(split, []).append({"study_id": study["study_id"], "view": view, "uri": uri})
    return samples
