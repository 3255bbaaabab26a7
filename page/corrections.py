"""Save a user's correction of a report, without any patient identity.

store = CorrectionStore(Path("corrections"))
edit = Edit(findings="…", impression="…", reader="Dr A")
saved, warning = save_correction(store, reading, edit, generator=generator)
"""

from collections import Counter

from data.corrections.correction import Correction, SavedCorrection
from data.corrections.store import CorrectionStore
from data.reports.deidentify import PLACEHOLDER, remove_identity
from data.reports.plain_text import join_lines
from page.study.edit import Edit
from page.study.read import StudyReading
from page.study.record import model_identity
from vlm.generator import ReportGenerator


def save_correction(
    store: CorrectionStore | None, reading: StudyReading | None, edit: Edit, *, generator: ReportGenerator
) -> tuple[SavedCorrection | None, str]:
    """Save the edit of a complete reading with its prior study; it is on disk when this returns. Without a store it is
    only checked.

    The text tells the user what looked like a person's identity in the texts and was replaced before saving.

    Raises:
        ValueError: there is no report to correct, the edit is empty or contradicts itself, or the folder is not
            writable; the message is for the user.
    """
    if reading is None or not reading.has_report:
        raise ValueError("There is no finished report to correct yet: write one first.")
    prior_images, prior_report, prior_interval_days = (), "", None
    if reading.prior is not None:
        prior_images, prior_report = reading.prior.images, reading.prior.report
        prior_interval_days = reading.prior.interval_days
    identifiers = [image.identifiers for image in (*reading.images, *prior_images) if image.identifiers]
    names = [word for each in identifiers for word in each.personal_words]
    replaced = Counter()
    texts = {
        "indication": reading.indication,
        "original_findings": reading.report.findings,
        "original_impression": reading.report.impression,
        "findings": edit.findings,
        "impression": edit.impression,
        "prior_report": prior_report,
    }
    for name, text in texts.items():
        texts[name], counts = remove_identity(join_lines(text), names)
        if not name.startswith("original"):
            replaced.update(counts)
    model = model_identity(generator)
    patient_id = next((each.patient_id for each in identifiers if each.patient_id), "")
    correction = Correction(
        **texts,
        view_positions=tuple(image.view_position for image in reading.images),
        probabilities=tuple(reading.report.finding_probabilities),
        thresholds=reading.calibration.thresholds,
        states=tuple(edit.states),
        preprocessing=generator.config.preprocessing,
        model_name=model.name,
        model_hash=model.hash,
        reader=edit.reader.strip(),
        subject_id=store.subject_id(patient_id) if store is not None else "",
        prior_view_positions=tuple(image.view_position for image in prior_images),
        prior_interval_days=prior_interval_days,
    )
    if correction.is_empty:
        raise ValueError("the report is empty and no finding is set; write a report or set a finding")
    if store is None:
        return None, ""
    saved = store.save(correction, [image.image for image in reading.images], [image.image for image in prior_images])
    if not replaced:
        return saved, ""
    kinds = ", ".join(f"{kind} ({count})" for kind, count in replaced.items())
    return saved, f"Before saving, text that looked like a person's identity was replaced by {PLACEHOLDER}: {kinds}."
