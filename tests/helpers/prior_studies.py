"""Small synthetic studies, some of which have a prior study."""

import datasets

from data.study import FEATURES
from data.synthetic.source import make_study


def prior_rows(start: int, stop: int, fraction: float = 0.6) -> datasets.Dataset:
    """The studies of these numbers, 48 pixels; this fraction has a prior study."""
    rows = []
    for number in range(start, stop):
        study = make_study(0, number, 48, prior_fraction=fraction)
        boxes = [{"finding": box.finding, "view": box.view, "box": box.box} for box in study.boxes]
        lists = {"images": [*study.images], "prior_images": [*study.prior_images], "boxes": boxes}
        rows.append({name: getattr(study, name) for name in FEATURES} | lists)
    return datasets.Dataset.from_list(rows, features=FEATURES)
