"""One study as a row of a table: what the page's worklist, `page.report FOLDER` and `page.archive` write.

COLUMNS names the columns in their order:

study, files             name of the study and of its files, as the source names them
state, reason            "read", "blocked" (no report, because of image warnings) or "rejected" (nothing can be read);
                         why, or what to know about a study that was read
study_instance_uid       from the DICOM header; "" without one
view_positions           of the images that were read
any_finding              probability of the most probable pathology, a lower bound for "any pathology"
most_probable            this pathology
predicted_positive       findings at or above their threshold, most probable first
expected_errors          expected number of wrong predictions among the 14; null if probabilities are not calibrated
findings, impression, report    as the model wrote them
Enlarged Cardiomediastinum, …   probability of each of the 14 findings; null without training labels
prior_files              names of the files of the prior study that it was compared with; empty without one
changes                  findings that are or were there since the prior study, such as "Pleural Effusion: worse"
ood_distance             largest distance of an image from those of the training, in multiples of the limit: above 1 it
                         is out of distribution; null if no image was compared
ood_not_checked          why nobody compared them; "" if it was done
exports                  names of the files that were exported
images_hash              of size and gray values of the images that were read, in any order; "" without one
model                    name of the checkpoint, [hash] of its weights and settings, and its operating point if not f1
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from data.corrections.correction import image_hash, study_hash
from data.reports.deidentify import remove_identity
from data.reports.structure import structured_findings, structured_report
from page.study.findings import by_probability, changed, finding_rows
from page.study.plain_text import plain_line, plain_text
from page.study.prior import PREFIX
from page.study.read import StudyReading
from page.study.record import CUT_OFF, ModelIdentity, model_identity
from vlm.generator import ReportGenerator
from vlm.operating_point import BEST_F1, OperatingPoint
from vlm.schema.findings import FINDINGS

READ, BLOCKED, REJECTED = "read", "blocked", "rejected"
"""States of a row: read; not read because of image warnings; a study that cannot be used."""
PATHOLOGIES = tuple(finding for finding in FINDINGS if finding not in ("No Finding", "Support Devices"))
COLUMNS: dict[str, type] = {
    "study": str,
    "files": list,
    "state": str,
    "reason": str,
    "study_instance_uid": str,
    "view_positions": list,
    "any_finding": float,
    "most_probable": str,
    "predicted_positive": list,
    "expected_errors": float,
    "findings": str,
    "impression": str,
    "report": str,
    **dict.fromkeys(FINDINGS, float),
    "prior_files": list,
    "changes": list,
    "ood_distance": float,
    "ood_not_checked": str,
    "exports": list,
    "images_hash": str,
    "model": str,
}
"""Name and type of each column; a list holds strings, and a number can be null."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyRow:
    """One study; see COLUMNS."""

    study: str
    files: tuple[str, ...]
    state: str
    reason: str = ""
    study_uid: str = ""
    view_positions: tuple[str, ...] = ()
    findings: str = ""
    impression: str = ""
    report: str = ""
    probabilities: dict[str, float] = field(default_factory=dict)
    """By finding, for those with training labels; empty if the study was not read."""
    expected_errors: float | None = None
    predicted_positive: tuple[str, ...] = ()
    prior_files: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    ood_distance: float | None = None
    ood_not_checked: str = ""
    exports: tuple[str, ...] = ()
    images_hash: str = ""
    model: str = ""

    @property
    def most_probable(self) -> str:
        """The most probable pathology; "" if the study was not read."""
        known = [finding for finding in PATHOLOGIES if finding in self.probabilities]
        return max(known, key=self.probabilities.__getitem__) if known else ""

    @property
    def any_finding(self) -> float | None:
        return self.probabilities.get(self.most_probable)

    def sort_value(self, finding: str) -> float:
        """Probability of `finding` ("": of any pathology); negative for studies without one."""
        value = self.probabilities.get(finding) if finding else self.any_finding
        return {READ: -1.0, BLOCKED: -2.0, REJECTED: -3.0}[self.state] if value is None else value

    def values(self) -> dict[str, Any]:
        """The values by column, in the order of COLUMNS."""
        values = {name: getattr(self, name, None) for name in COLUMNS}
        values |= {"study_instance_uid": self.study_uid, **{name: self.probabilities.get(name) for name in FINDINGS}}
        return {name: _stored(values[name], kind) for name, kind in COLUMNS.items()}


def _stored(value: Any, kind: type) -> Any:
    if kind is list:
        return list(value)
    return round(value, 6) if kind is float and value is not None else value


def model_name(identity: ModelIdentity, point: OperatingPoint = BEST_F1) -> str:
    """The value of the column `model`."""
    return f"{identity.name} [{identity.hash}]" + ("" if point == BEST_F1 else f" at {point}")


def generator_name(generator: ReportGenerator) -> str:
    """The value of the column `model`. Rows with the same value have the same thresholds."""
    return model_name(model_identity(generator), generator.calibration.operating_point)


def rejected_row(study: str, reason: str, files: Sequence[str] = (), *, model: str, study_uid: str = "") -> StudyRow:
    """The row of a study that cannot be used."""
    return StudyRow(
        study=study,
        files=tuple(files),
        state=REJECTED,
        reason=plain_line(reason),
        study_uid=study_uid,
        model=model,
    )


def study_row(
    generator: ReportGenerator,
    reading: StudyReading,
    study: str,
    *,
    files: Sequence[str],
    problems: Sequence[str] = (),
    include_identity: bool = False,
    by_system: bool = False,
) -> StudyRow:
    """The row of a complete reading. `problems` say which files were left out.

    Names, dates and numbers of persons in its texts become ___, as in exports, unless `include_identity` is set.
    """
    known = [image.identifiers for image in reading.images if image.identifiers]
    prior = reading.prior.images if reading.prior else ()
    columns = {
        "study": study,
        "files": tuple(files),
        "study_uid": next((one.study_instance_uid for one in known if one.study_instance_uid), ""),
        "view_positions": tuple(image.view_position for image in reading.images),
        "reason": plain_line(" ".join([*problems, *reading.image_warnings, *reading.notes])),
        "prior_files": tuple(plain_line(image.name.removeprefix(PREFIX)) for image in prior),
        "ood_distance": reading.ood_distance,
        "ood_not_checked": plain_line(reading.ood_not_checked),
        "images_hash": study_hash(image_hash(image.image) for image in reading.images),
        "model": generator_name(generator),
    }
    if reading.is_blocked:
        return StudyRow(state=BLOCKED, **columns)
    held = (*known, *(image.identifiers for image in prior if image.identifiers))
    names = [word for one in held for word in one.personal_words]
    report, calibration = reading.report, reading.calibration

    def clean(text: str) -> str:
        return plain_text(text if include_identity else remove_identity(text, names)[0])

    findings, impression = clean(report.findings), clean(report.impression)
    whole = clean(report.report)
    rows = by_probability(finding_rows(reading))
    if report.is_truncated:
        columns["reason"] = f"{columns['reason']} {CUT_OFF}".strip()
    return StudyRow(
        state=READ,
        findings=structured_findings(findings, impression) if by_system else findings,
        impression=impression,
        report=structured_report(whole) if by_system else whole,
        probabilities={row.finding: row.probability for row in rows},
        expected_errors=(
            calibration.expected_errors(report.finding_probabilities) if calibration.is_calibrated else None
        ),
        predicted_positive=tuple(row.finding for row in rows if row.is_positive),
        changes=tuple(f"{row.finding}: {row.change[0]}" for row in changed(rows)),
        **columns,
    )
