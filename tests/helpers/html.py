"""Parse the HTML of cards; a study reading to fill them."""

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from page.study.read import StudyReading, complete
from page.study.upload import UploadedImage
from vlm.schema.findings import NUM_FINDINGS
from vlm.schema.study_report import StudyReport
from vlm.uncertainty import Calibration

ATTACK = "<script>alert(1)</script><img src=x onerror=alert(1)>\" onload='alert(1)"


REPORT = StudyReport(
    report="Findings: Clear lungs. Impression: Normal.",
    findings="Clear lungs.",
    impression="Normal.",
    finding_probabilities=(0.5,) * NUM_FINDINGS,
    attention_maps=np.zeros((NUM_FINDINGS, 1, 2, 2), dtype=np.float32),
    tokens=(),
    token_log_probabilities=(),
    is_truncated=False,
)


IMAGE = UploadedImage(name="chest.png", image=Image.new("L", (40, 30), 90), view_position="AP")


CALIBRATED = Calibration(num_studies=120)
UNCALIBRATED = Calibration()


def reading_of(text, probabilities=(0.5,) * NUM_FINDINGS, calibration=UNCALIBRATED):
    """A finished reading of IMAGE with this report."""
    report = replace(REPORT, report=text, finding_probabilities=tuple(probabilities))
    return complete(StudyReading(images=(IMAGE,), report=report, calibration=calibration))


class Tags(HTMLParser):
    """Names of all tags and attributes, and the text with single blanks."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.text = set(), set(), ""
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data):
        self.text += data
