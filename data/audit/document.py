"""The findings of an audit, as a document for `audit.json`. `data.audit.verdict` judges it, `data.audit.page` shows it.

Lists of studies and images have a full count and at most MAX_LISTED entries.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data.audit.collect import (
    AuditContext,
    LabelAgreement,
    Place,
    SplitCounts,
    StudyTraits,
    Track,
    read_report,
    read_traits,
)
from data.audit.duplicates import Copies, ImageIndex
from data.audit.records import Records, groups_of_equal
from data.images.duplicates import ALIKE_BOUND, SAME_BOUND
from data.pipeline.rejected import rejections, warnings
from data.reports.near_duplicates import MIN_WORDS, NUM_HASHES, near_report_pairs
from data.study import load_studies

FORMAT = 2
MAX_LISTED = 1000
MIN_PARALLEL = 201
"""Number of studies from which worker processes are started."""
RELATIONS = ("across splits", "different patients", "same patient", "same study")
"""How copies are related, the worst first."""


def audit(folder: Path, *, num_workers: int, track: Track) -> dict[str, Any]:
    """The document without the verdict.

    Raises:
        ValueError: `folder` is not a prepared data set.
    """
    splits = {split: len(rows) for split, rows in load_studies(folder).items()}
    places = [(split, row) for split, number in splits.items() for row in range(number)]
    context = AuditContext(folder=str(folder), places=places, num_workers=num_workers, track=track)
    with _Collection(context, list(splits)) as collection:
        for place, traits in context.map(
            partial(read_traits, folder=context.folder),
            places,
            total=len(places),
            description="Reading studies",
            min_parallel=MIN_PARALLEL,
            if_lost=lambda _: None,
        ):
            collection.add(place, traits)
        return collection.document()


class _Listing:
    """The number of entries, and the first MAX_LISTED of them."""

    def __init__(self, entries: Iterable[dict[str, Any]] = ()):
        self._count, self._listed = 0, []
        for entry in entries:
            self.add(entry)

    def add(self, entry: dict[str, Any]) -> None:
        self._count += 1
        if len(self._listed) < MAX_LISTED:
            self._listed.append(entry)

    def as_json(self) -> dict[str, Any]:
        return {"count": self._count, "listed": self._listed}


class _Collection(ExitStack):
    """Facts about all studies, in files where they grow with their number. A study's number is its index in the
    places."""

    def __init__(self, context: AuditContext, splits: Sequence[str]):
        super().__init__()
        self._context = context
        self._splits = {split: SplitCounts() for split in splits}
        self._agreement = LabelAgreement()
        self._sources: dict[tuple[str, str], Counter] = defaultdict(Counter)
        self._study_ids: list[str] = []
        self._subject_ids: list[str] = []
        self._image_problems = {kind: _Listing() for kind in ("damaged", "blank", "burned_in")}
        self._identifiers, self._identifier_kinds = _Listing(), Counter()
        self._images = self.enter_context(ImageIndex())
        # Images of prior studies; is_own: it is also an image of the study.
        self._priors = self.enter_context(Records([("study", np.int64), ("digest", "S16"), ("is_own", np.bool_)]))
        self._reports = self.enter_context(Records([("study", np.int64), ("digest", "S16"), ("is_long", np.bool_)]))
        self._signatures = self.enter_context(Records([("values", np.uint32, (NUM_HASHES,))]))
        """Of the long reports, in order."""

    def add(self, place: Place, traits: StudyTraits | None) -> None:
        """Add a study; None if the process that read it crashed."""
        number = len(self._study_ids)
        self._study_ids.append(traits.study_id if traits else f"row {place[1]}")
        self._subject_ids.append(traits.subject_id if traits else "")
        problems = self._image_problems
        if traits is None:
            problems["damaged"].add(self._named(number, view=1) | {"reason": "the process that read it crashed"})
            return
        self._splits[place[0]].add(traits)
        self._sources[traits.source, traits.license][place[0]] += 1
        self._agreement.add(traits)
        for view, image in enumerate(traits.images):
            named = self._named(number, view=view + 1)
            if image.error:
                problems["damaged"].add(named | {"reason": image.error})
            elif image.is_blank:
                problems["blank"].add(named)
            else:
                self._images.add(number, view, image)
            if image.burned_in:
                problems["burned_in"].add(named | {"text": image.burned_in})
        own = {image.digest for image in traits.images if not image.error}
        for view, image in enumerate(traits.prior.images if traits.prior else (), start=len(traits.images) + 1):
            if image.error:
                problems["damaged"].add(self._named(number, view=view) | {"reason": f"prior study: {image.error}"})
            elif not image.is_blank:
                self._priors.add(number, image.digest, image.digest in own)
            if image.burned_in:
                problems["burned_in"].add(self._named(number, view=view) | {"text": f"prior study: {image.burned_in}"})
        if traits.identifiers:
            self._identifiers.add(self._named(number) | {"kinds": dict(traits.identifiers)})
            self._identifier_kinds.update(traits.identifiers)
        if traits.report:
            is_long = traits.report.signature is not None
            self._reports.add(number, traits.report.digest, is_long)
            if is_long:
                self._signatures.add(traits.report.signature)

    def document(self) -> dict[str, Any]:
        folder = Path(self._context.folder)
        image_problems = {kind: images.as_json() for kind, images in self._image_problems.items()}
        repeated = ((study_id, count) for study_id, count in Counter(self._study_ids).items() if count > 1)
        return {
            "format": FORMAT,
            "dataset": self._context.folder,
            "splits": {split: counts.as_json() for split, counts in self._splits.items()},
            "sources": [
                {"source": source, "license": license_name, "studies": dict(counts)}
                for (source, license_name), counts in sorted(self._sources.items())
            ],
            "subjects_across_splits": self._subjects_across_splits(),
            "repeated_study_ids": _Listing({"study_id": name, "count": count} for name, count in repeated).as_json(),
            "images": image_problems | self._copies(self._images.find_copies(self._context)),
            "priors": self._prior_problems(),
            "reports": self._report_copies(),
            "identifiers": self._identifiers.as_json() | {"kinds": dict(self._identifier_kinds.most_common())},
            "label_agreement": self._agreement.as_json(),
            "rejected": rejections(folder),
            "warnings": warnings(folder),
        }

    def _subjects_across_splits(self) -> dict[str, Any]:
        splits_of: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for (split, _), subject, study_id in zip(self._context.places, self._subject_ids, self._study_ids, strict=True):
            if subject:
                splits_of[subject][split].append(study_id)
        crossing = {subject: dict(splits) for subject, splits in splits_of.items() if len(splits) > 1}
        return _Listing({"subject_id": subject, "studies": studies} for subject, studies in crossing.items()).as_json()

    def _prior_problems(self) -> dict[str, Any]:
        """Studies with a prior study that shows an image of another split, or an image of the study itself."""
        priors, images = self._priors.array(), self._images.array()
        splits_of: dict[bytes, set[str]] = defaultdict(set)
        for study, digest in images[np.isin(images["digest"], priors["digest"])][["study", "digest"]].tolist():
            splits_of[digest].add(self._context.places[study][0])
        across = dict.fromkeys(
            study
            for study, digest in priors[["study", "digest"]].tolist()
            if splits_of[digest] - {self._context.places[study][0]}
        )
        same = dict.fromkeys(priors["study"][priors["is_own"]].tolist())
        return {
            "same_image": _Listing(self._named(number) for number in same).as_json(),
            "across_splits": _Listing(self._named(number) for number in across).as_json(),
        }

    def _copies(self, copies: Copies) -> dict[str, Any]:
        images = self._images.array()

        def entry(group: Sequence[int], shown: Sequence[int], **more: Any) -> dict[str, Any]:
            named = [self._named(study, view=view + 1) for study, view in images[["study", "view"]][shown].tolist()]
            return {"relation": self._relation(images["study"][group].tolist()), "images": named, **more}

        identical = [
            entry(group, self._spread(group, images["study"][group].tolist()), count=len(group))
            for group in copies.identical
        ]
        altered = [entry(pair, pair, similarity=similarity) for *pair, similarity in copies.altered]
        return {
            "identical": _by_relation(identical),
            "altered": _by_relation(pair for pair in altered if pair["similarity"] >= SAME_BOUND),
            "similar": _by_relation(pair for pair in altered if pair["similarity"] < SAME_BOUND),
            "search": copies.search | {"altered_from": SAME_BOUND, "similar_from": ALIKE_BOUND},
        }

    def _report_copies(self) -> dict[str, Any]:
        """Groups of equal reports, and `near` pairs with nearly the same words. `equal` and `near` list only those that
        are long enough to be copies."""
        reports = self._reports.array()
        first, groups = groups_of_equal(reports["digest"])
        long = [reports["study"][group].tolist() for group in groups if reports["is_long"][group[0]]]
        compared = first[reports["is_long"][first]]
        studies = reports["study"][compared].tolist()
        place_among_long = np.cumsum(reports["is_long"])[compared] - 1

        def text_of(index: int) -> str:
            return read_report(self._context.folder, self._context.places[studies[index]])

        near = [
            ((studies[one], studies[other]), round(similarity, 3))
            for one, other, similarity in near_report_pairs(
                self._signatures.array()["values"][place_among_long], text_of
            )
        ]
        return {
            "different": len(first),
            "in_equal_groups": sum(map(len, groups)),
            "equal_groups": len(groups),
            "copy_from_words": MIN_WORDS,
            "equal": _by_relation(self._study_entry(group, group[:10], count=len(group)) for group in long),
            "near": _by_relation(self._study_entry(pair, pair, similarity=similarity) for pair, similarity in near),
        }

    def _study_entry(self, group: Sequence[int], shown: Sequence[int], **more: Any) -> dict[str, Any]:
        return {"relation": self._relation(group), "studies": [self._named(study) for study in shown], **more}

    def _named(self, number: int, **more: Any) -> dict[str, Any]:
        split, row = self._context.places[number]
        study_id, subject_id = self._study_ids[number], self._subject_ids[number]
        return {"split": split, "row": row, "study_id": study_id, "subject_id": subject_id, **more}

    def _relation(self, studies: Sequence[int]) -> str:
        splits = {self._context.places[study][0] for study in studies}
        subjects = {self._subject_ids[study] for study in studies}
        differ = [len(values) > 1 for values in (splits, subjects, set(studies))]
        return RELATIONS[[*differ, True].index(True)]

    def _spread(self, group: Sequence[int], studies: Sequence[int]) -> list[int]:
        """Up to ten images of a group, the first one of each split first. `studies`: of these images."""
        split_of = [self._context.places[study][0] for study in studies]
        firsts = sorted(split_of.index(split) for split in set(split_of))
        return [group[index] for index in (firsts + [n for n in range(len(group)) if n not in firsts])[:10]]


def _by_relation(entries: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The number of entries with each relation, and the first entries, the worst relation first."""
    entries = sorted(entries, key=lambda entry: RELATIONS.index(entry["relation"]))
    counts = Counter(entry["relation"] for entry in entries)
    return {"count": {relation: counts[relation] for relation in RELATIONS}, "listed": entries[:MAX_LISTED]}
