"""The studies of a run: what is learned, what is validated on; and a second data set that is learned beside the first.

The second (`--extra-dataset`, corrections say) lends its train split alone: the checkpoint is still chosen on what the
first holds out, so that learning the one is seen not to forget the other.
"""

from dataclasses import dataclass

import datasets
import numpy as np

from data.study import FEATURES, check_disjoint, load_studies, saved_preprocessing
from train.held_out import studies_with_pictures_of
from train.options import FinetuneOptions


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStudies:
    """`splits` has every study once; `learned` is its train split with each study as often as an epoch has it."""

    splits: datasets.DatasetDict
    learned: datasets.Dataset
    notes: tuple[str, ...] = ()
    """What to tell the user, a sentence each."""


def load_run_studies(options: FinetuneOptions) -> RunStudies:
    """The studies that the options name.

    Raises:
        ValueError: there are none to learn or to validate on, or the two data sets do not go together.
    """
    studies = load_studies(options.dataset)
    for split in ("train", "validation"):
        if split not in studies or not len(studies[split]):
            raise ValueError(
                f"--dataset {options.dataset} has no studies in its {split} split; prepare it with some "
                "(--split-fractions)"
            )
    if options.num_studies:
        studies = datasets.DatasetDict({**studies, "train": _some(studies["train"], options)})
    own = [*range(len(studies["train"]))] * options.repeats
    if options.extra_dataset is None:
        return RunStudies(
            splits=studies, learned=studies["train"].select(own) if options.repeats > 1 else studies["train"]
        )
    extra, notes = _extra_studies(options, studies)
    columns = [name for name in FEATURES if name in studies["train"].column_names and name in extra.column_names]
    num_own = len(studies["train"])
    train = datasets.concatenate_datasets([rows.select_columns(columns) for rows in (studies["train"], extra)])
    numbers = [*own, *[*range(num_own, len(train))] * options.extra_repeats]
    return RunStudies(
        splits=datasets.DatasetDict({**studies, "train": train}), learned=train.select(numbers), notes=notes
    )


def _some(train: datasets.Dataset, options: FinetuneOptions) -> datasets.Dataset:
    """As many studies as asked, in the data set's order. The seed alone decides who comes in before whom."""
    if options.num_studies > len(train):
        raise ValueError(
            f"--num-studies {options.num_studies}: the train split of {options.dataset} has only {len(train)}; give at "
            "most so many, or leave it out for all"
        )
    drawn = np.random.default_rng(options.seed).permutation(len(train))[: options.num_studies]
    return train.select(np.sort(drawn))


def _extra_studies(options: FinetuneOptions, studies: datasets.DatasetDict) -> tuple[datasets.Dataset, tuple[str, ...]]:
    """The train split of --extra-dataset, without what `studies` hold out."""
    name = f"--extra-dataset {options.extra_dataset}"
    loaded = load_studies(options.extra_dataset)
    extra = loaded.get("train", ())
    if not len(extra):
        raise ValueError(f"{name} has no studies in its train split; prepare it with --split-fractions 1 0 0")
    own, other = (saved_preprocessing(folder) for folder in (options.dataset, options.extra_dataset))
    if own != other:
        raise ValueError(
            f"{name} went through another preprocessing ({other}) than --dataset {options.dataset} ({own}); prepare "
            "both with the same switches"
        )
    held_out = {split: rows for split, rows in studies.items() if split != "train"}
    try:
        subjects = {split: rows["subject_id"][:] for split, rows in held_out.items()}
        check_disjoint({f"train of {options.extra_dataset}": extra["subject_id"][:]} | subjects)
    except ValueError as error:
        raise ValueError(f"{name} beside --dataset {options.dataset}: {error}") from error
    seen = set(studies_with_pictures_of(extra, held_out.values()))
    kept = [number for number in range(len(extra)) if number not in seen]
    notes = [f"{name}: learned {len(kept)}, each {options.extra_repeats} times an epoch."]
    if seen:
        notes.append(
            f"{name}: not learned {len(seen)} of {len(extra)}, which show pictures that --dataset holds out for "
            "validation or test."
        )
    unused = sum(len(rows) for split, rows in loaded.items() if split != "train")
    if unused:
        notes.append(f"{name}: not used {unused}, which lie outside its train split.")
    if not kept:
        raise ValueError(
            f"{name}: all {len(extra)} studies show pictures that --dataset {options.dataset} holds out for "
            "validation or test; correct others, for what is tested must not be learned"
        )
    return extra.select(kept), tuple(notes)
