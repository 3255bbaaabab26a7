"""The prior study of a study: the last one before it of the same patient and split.

A source links the studies of a patient by their times. Times are not stored; only the interval in days is. The prior
study is read with the study it belongs to. If it cannot be used, the study is kept without it, with a warning.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from data.pipeline.raw_study import FileStudy, ImageOptions, RawFileStudy, RawPrior, RawStudy, Rejection


def link_priors(
    raw_studies: Iterable[RawFileStudy | Rejection], times: Mapping[str, datetime]
) -> Iterator[RawFileStudy | Rejection]:
    """The studies of one patient, in the given order, each with its prior study. `times` are by study id; a study
    without a time has no prior study and is none, and neither is one of the same moment."""
    raw_studies = list(raw_studies)
    dated = sorted((times[raw.study_id], number) for number, raw in enumerate(raw_studies) if raw.study_id in times)
    for raw_study in raw_studies:
        now = times.get(raw_study.study_id)
        earlier = [(time, number) for time, number in dated if now is not None and time < now]
        if isinstance(raw_study, Rejection) or not earlier:
            yield raw_study
        else:
            time, number = earlier[-1]
            prior = RawPrior(raw_study=raw_studies[number], interval_days=(now.date() - time.date()).days)
            yield replace(raw_study, prior=prior)


def read_prior(study: FileStudy, raw_study: RawStudy, options: ImageOptions) -> tuple[FileStudy, str]:
    """The study with its prior study, if it has one, or why that cannot be used."""
    prior = getattr(raw_study, "prior", None)
    if prior is None:
        return study, ""
    try:
        if isinstance(prior.raw_study, Rejection):
            raise ValueError(prior.raw_study.reason)
        if prior.raw_study.split != raw_study.split:
            raise ValueError(f"it is in the split {prior.raw_study.split}")
        earlier = prior.raw_study.study(options)
    except ValueError as error:
        return study, f"its prior study cannot be used, so it is kept without one ({error})"
    linked = replace(
        study,
        prior_images=earlier.images,
        prior_views=earlier.views,
        prior_view_positions=earlier.view_positions,
        prior_report=earlier.report,
        prior_interval_days=prior.interval_days,
    )
    return linked, ""
