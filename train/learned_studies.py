"""The studies of a run as `training_data.json` counts them (vlm.checkpoint.provenance)."""

from collections import Counter
from collections.abc import Mapping

import datasets

from vlm.checkpoint.provenance import LearnedStudies


def learned_studies(splits: Mapping[str, datasets.Dataset]) -> tuple[LearnedStudies, ...]:
    """Of the train and validation splits, by source and licence, the most first. A study that lies in two data sets of
    the run counts once."""
    return tuple(counted for split in ("train", "validation") for counted in _counted(split, splits[split]))


def _counted(split: str, studies: datasets.Dataset) -> list[LearnedStudies]:
    seen, counts, with_report = set(), Counter(), Counter()
    for row in studies.select_columns(["study_id", "source", "license", "findings", "impression"]):
        kind = (row["source"], row["license"])
        if (kind, row["study_id"]) not in seen:
            seen.add((kind, row["study_id"]))
            counts[kind] += 1
            with_report[kind] += bool(row["findings"] or row["impression"])
    return [
        LearnedStudies(
            split=split, source=source, license=license, num_studies=count, num_with_report=with_report[source, license]
        )
        for (source, license), count in counts.most_common()
    ]
