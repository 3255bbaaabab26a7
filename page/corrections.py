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

PRIOR_NOTE = (
    "The prior study is not saved with it. Prepare the corrections with --drop-prior-sentences, so that the model does "
    "not learn to compare without a prior study."
)


def save_correction(
    store: CorrectionStore | None, reading: StudyReading | None, edit: Edit, *, generator: ReportGenerator
) -> tuple[SavedCorrection | None, str]:
    """Save the edit of a complete reading; it is on disk when this returns. Without a store it is only checked.

    The text tells the user what looked like a person's identity in the report and was replaced before saving, and that
    the prior study is not saved.

    Raises:
        ValueError: there is no report to correct, the edit is empty or contradicts itself, or the folder is not
            writable; the message is for the user.
    """
    if reading is None or not reading.has_report:
        raise ValueError("There is no finished report to correct yet: write one first.")
    prior_images = reading.prior.images if reading.prior else ()
    identifiers = [image.identifiers for image in (*reading.images, *prior_images) if image.identifiers]
    names = [word for each in identifiers for word in each.personal_words]
    replaced = Counter()
    texts = {
        "indication": reading.indication,
        "original_findings": reading.report.findings,
        "original_impression": reading.report.impression,
        "findings": edit.findings,
        "impression": edit.impression,
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
    )
    if correction.is_empty:
        raise ValueError("the report is empty and no finding is set; write a report or set a finding")
    if store is None:
        return None, ""
    saved = store.save(correction, [image.image for image in reading.images])
    notes = [PRIOR_NOTE] if reading.prior else []
    if replaced:
        kinds = ", ".join(f"{kind} ({count})" for kind, count in replaced.items())
        note = f"Before saving, text that looked like a person's identity was replaced by {PLACEHOLDER}: {kinds}."
        notes.insert(0, note)
    return saved, " ".join(notes)
