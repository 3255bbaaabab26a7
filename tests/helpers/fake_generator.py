"""A report generator without a model."""

from types import SimpleNamespace

import numpy as np
from PIL import Image

from data.study import LATER_COLUMNS
from vlm.schema.preprocessing import Preprocessing
from vlm.schema.study_report import StudyReport

WORDS = {4: "pulmonary edema", 9: "pleural effusion", 11: "rib fracture"}


def make_row(number: int, split: str) -> dict:
    """A study with its number as gray level of the image and the bits of the number as three findings."""
    findings = [finding for bit, finding in enumerate(WORDS) if number >> bit & 1]
    text = " ".join(f"There is {WORDS[finding]}." for finding in findings) or "The lungs are clear."
    return {
        "study_id": f"{split}{number:02d}",
        "subject_id": f"{split}-subject{number // 2}",
        "images": [Image.new("L", (8, 8), number)] * (1 + number % 2),
        "view_positions": ["PA", "LATERAL"][: 1 + number % 2],
        "indication": "cough" if number % 3 == 0 else "",
        "findings": text,
        "impression": "Seen on this study." if number % 4 == 0 else "",
        "labels": [int(index in findings) for index in range(13)] + [int(not findings)],
        "boxes": [],
        **LATER_COLUMNS,
        "label_source": "source",
        "source": "test",
        "license": "",
    }


class FakeGenerator:
    """Reads the findings off the image's gray level; rejects level `broken`; stops after `dies_after` batches.

    It records the levels of the images it was shown, with their indications and view positions.
    """

    writes_reports = True
    reads_priors = False
    config = SimpleNamespace(preprocessing=Preprocessing(), image=SimpleNamespace(size=8))
    thresholds = (0.5,) * 14
    device = "cpu"
    precision = "fp32"

    def __init__(self, broken=(), dies_after=10**9):
        self.broken, self.dies_after = broken, dies_after
        self.shown, self.indications, self.positions, self.num_features = [], [], [], 0

    def at(self, point):
        assert str(point) == "f1"
        return self

    def generate(self, images, view_positions=None, indications=None, priors=None, options=None):
        levels = [views[0].getpixel((0, 0)) for views in images]
        if options.max_new_tokens == 1:  # the page asks for the attention alone
            return [self._report(make_row(level, "test")) for level in levels]
        if any(level in self.broken for level in levels):
            raise ValueError("the image is not a chest X-ray")
        if self.dies_after == 0:
            raise KeyboardInterrupt
        self.dies_after -= 1
        self.shown += levels
        self.indications += indications
        self.positions += view_positions
        assert [len(views) for views in images] == [len(positions) for positions in view_positions]
        return [self._report(make_row(level, "test")) for level in levels]

    def heatmaps(self, report, images):
        return [np.zeros((14, image.height, image.width), np.float32) for image in images]

    def features(self, images, view_positions=None):
        self.num_features += len(images)
        levels = np.array([views[0].getpixel((0, 0)) for views in images])
        return np.stack([np.ones(len(levels)), *(levels >> bit & 1 for bit in range(3))], axis=1).astype(np.float32)

    def _report(self, row):
        return StudyReport(
            report=f"Findings: {row['findings']}",
            findings=row["findings"],
            impression="",
            finding_probabilities=tuple(0.9 if label else 0.1 for label in row["labels"]),
            attention_maps=np.full((14, len(row["images"]), 2, 2), 0.25, np.float32),
            tokens=("x",) * 2,
            token_log_probabilities=(-0.5, -1.5),
            is_truncated=False,
        )
