"""Changes since a prior study: what the sentences of radiologists state of each finding."""

import pytest

from data.reports.labeler.changes import report_changes
from vlm.schema.findings import CHANGES, FINDINGS

EFFUSION, HEART, EDEMA, DEVICES = "Pleural Effusion", "Cardiomegaly", "Edema", "Support Devices"
OPACITY, CONSOLIDATION, PNEUMOTHORAX, LESION = "Lung Opacity", "Consolidation", "Pneumothorax", "Lung Lesion"

STATED = {
    # new
    "New right pleural effusion.": {EFFUSION: "new"},
    "Small effusion, new since the prior exam.": {EFFUSION: "new"},
    "Interval development of right lower lobe consolidation.": {CONSOLIDATION: "new"},
    "New fracture of the left rib.": {"Fracture": "new"},
    "Right basal opacity, not seen on the prior study.": {OPACITY: "new"},
    "There is a new endotracheal tube.": {DEVICES: "new"},
    "Interval placement of a right chest tube.": {DEVICES: "new"},
    "A left PICC has been placed since the prior study.": {DEVICES: "new"},
    # worse
    "Left pleural effusion has increased.": {EFFUSION: "worse"},
    "Increased left pleural effusion.": {EFFUSION: "worse"},
    "Interval increase in left pleural effusion.": {EFFUSION: "worse"},
    "Interval worsening of the left effusion, now moderate.": {EFFUSION: "worse"},
    "Edema has progressed.": {EDEMA: "worse"},
    "Worsening edema and small effusions.": {EDEMA: "worse"},
    "Enlarging right upper lobe mass.": {LESION: "worse"},
    "Interval enlargement of the nodule.": {LESION: "worse"},
    "Pneumothorax is slightly larger than before.": {PNEUMOTHORAX: "worse"},
    "Lung volumes are lower, with increased atelectasis.": {"Atelectasis": "worse"},
    # unchanged
    "Stable cardiomegaly.": {HEART: "unchanged"},
    "The heart is again enlarged.": {HEART: "unchanged"},
    "No change in the cardiomegaly.": {HEART: "unchanged"},
    "Cardiomegaly is not significantly changed.": {HEART: "unchanged"},
    "The consolidation persists.": {CONSOLIDATION: "unchanged"},
    "The opacity has not resolved.": {OPACITY: "unchanged"},
    "The pneumothorax is no larger.": {PNEUMOTHORAX: "unchanged"},
    "The effusion has neither increased nor decreased.": {EFFUSION: "unchanged"},
    "The endotracheal tube is unchanged in position.": {DEVICES: "unchanged"},
    "The endotracheal tube has been repositioned, in better position.": {DEVICES: "unchanged"},
    # better
    "Decreased left pleural effusion.": {EFFUSION: "better"},
    "Compared to the prior study, the effusion is smaller.": {EFFUSION: "better"},
    "Pleural effusion is stable to slightly improved.": {EFFUSION: "better"},
    "Pulmonary edema is less severe.": {EDEMA: "better"},
    "Near complete resolution of the edema.": {EDEMA: "better"},
    "The opacity has almost completely resolved.": {OPACITY: "better"},
    "Resolving pneumonia.": {"Pneumonia": "better"},
    "Improved aeration of the lung bases with decreased atelectasis.": {"Atelectasis": "better"},
    # resolved
    "The effusion has resolved.": {EFFUSION: "resolved"},
    "Interval resolution of the pneumothorax.": {PNEUMOTHORAX: "resolved"},
    "There is no longer a pneumothorax.": {PNEUMOTHORAX: "resolved"},
    "No residual pneumothorax.": {PNEUMOTHORAX: "resolved"},
    "Clearing of the right lower lobe opacity.": {OPACITY: "resolved"},
    "Previously seen nodule is not visualized.": {LESION: "resolved"},
    "Previously noted left effusion is not seen on today's study.": {EFFUSION: "resolved"},
    "Heart size has decreased and is now normal.": {HEART: "resolved"},
    "The heart is no longer enlarged.": {HEART: "resolved"},
    "Interval removal of the chest tube.": {DEVICES: "resolved"},
    "The right chest tube has been removed.": {DEVICES: "resolved"},
    "Interval extubation.": {DEVICES: "resolved"},
    # several
    "Unchanged cardiomegaly, new edema.": {HEART: "unchanged", EDEMA: "new"},
    "Left effusion is unchanged while the right effusion has decreased.": {EFFUSION: "unchanged better"},
    "The right effusion has resolved. Unchanged small left effusion.": {EFFUSION: "resolved unchanged"},
    "No interval change in the small left effusion; the pneumothorax has resolved.": {
        EFFUSION: "unchanged",
        PNEUMOTHORAX: "resolved",
    },
    "Removal of the Swan-Ganz catheter. The chest tube remains.": {DEVICES: "resolved unchanged"},
    # nothing
    "No new effusion.": {},
    "No new consolidation or effusion.": {},
    "No pneumothorax compared to the previous exam.": {},
    "No effusion as previously.": {},
    "No pneumothorax after removal of the chest tube.": {DEVICES: "resolved"},
    "The heart size is mildly increased.": {},
    "Stable heart size.": {},
    "Improved aeration.": {},
    "Increased interstitial markings.": {},
    "No significant change.": {},
    "Small left effusion. Mild cardiomegaly.": {},
    "Comparison: unchanged effusion. Findings: Clear lungs.": {},
    # the whole study
    "Cardiomegaly. Small effusion. No significant interval change.": {HEART: "unchanged", EFFUSION: "unchanged"},
    "New small effusion. Cardiomegaly. Otherwise unchanged.": {EFFUSION: "new", HEART: "unchanged"},
    "Cardiomegaly. Overall unchanged appearance of the chest.": {HEART: "unchanged"},
    "Cardiomegaly. No pneumothorax. Chest is stable since the prior exam.": {HEART: "unchanged"},
    "Cardiomegaly. The bones are unchanged.": {},
    "Cardiomegaly. Stable heart size.": {},
}


@pytest.mark.parametrize(("report", "expected"), STATED.items(), ids=list(STATED))
def test_each_finding_has_the_changes_that_its_sentences_state(report, expected):
    stated = {
        finding: " ".join(sorted(CHANGES[code] for code in codes))
        for finding, codes in zip(FINDINGS, report_changes(report), strict=True)
        if codes
    }
    assert stated == {finding: " ".join(sorted(names.split())) for finding, names in expected.items()}


def test_sections_are_one_report():
    sections = report_changes("Cardiomegaly.", "No interval change.")
    assert sections == report_changes("Findings: Cardiomegaly. Impression: No interval change.")
    assert sections[FINDINGS.index(HEART)] == {CHANGES.index("unchanged")}
