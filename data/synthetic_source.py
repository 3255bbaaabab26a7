"""Made-up studies as a source for `data.prepare`: a seed and a number in, drafts out that are drawn by the workers."""

from dataclasses import dataclass

from data.draft import ImageOptions, Plan, Planning
from data.splits import split_subjects
from data.study import MAX_SIDE, Study
from data.synthetic import make_study, subject_id


@dataclass(frozen=True, kw_only=True, slots=True)
class SyntheticDraft:
    """A made-up study that is still to be drawn."""

    study_id: str
    subject_id: str
    split: str
    seed: int
    index: int
    size: int
    department: int
    files: tuple[str, ...] = ()

    def study(self, options: ImageOptions) -> Study:
        return make_study(self.seed, self.index, self.size, department=self.department)


@dataclass(frozen=True, kw_only=True, slots=True)
class SyntheticSource:
    """Made-up studies: chest phantoms with findings, and reports of them."""

    num_studies: int = 1000
    """How many."""
    size: int = 224
    """Pixels a side."""
    department: int = 0
    """Reports in the wordings of one department, by its number: it has a few of all ways to say a thing. 0: all."""

    def __post_init__(self):
        if self.num_studies < 1:
            raise ValueError(f"--num-studies is {self.num_studies}; ask for 1 or more")
        if self.department < 0:
            raise ValueError(f"--department is {self.department}; give its number, or 0 for all wordings")
        if not 64 <= self.size <= MAX_SIDE:
            raise ValueError(f"--size is {self.size}; it must lie between 64 and {MAX_SIDE}")

    def plan(self, planning: Planning) -> Plan:
        subjects = [subject_id(planning.seed, index) for index in range(self.num_studies)]
        split_of = split_subjects(subjects, fractions=planning.split_fractions, seed=planning.seed)
        drafts = (
            SyntheticDraft(
                study_id=f"synthetic-{planning.seed}-{index:06d}",
                subject_id=subject,
                split=split_of[subject],
                seed=planning.seed,
                index=index,
                size=self.size,
                department=self.department,
            )
            for index, subject in enumerate(subjects)
        )
        return Plan(num_studies=self.num_studies, drafts=drafts)
