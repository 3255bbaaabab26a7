"""No Finding needs a statement about the chest; text in other languages states nothing."""

import pytest

from data.reports.labeler.labeler import explain_report, label_report
from vlm.schema.findings import BLANK, FINDING_INDEX, NUM_FINDINGS, POSITIVE

NO_FINDING = FINDING_INDEX["No Finding"]

SAYS_NOTHING = """
nan
NaN
N/A
n/a.
NULL
None
to_generate
TBD
Report pending.
Report to follow.
Dictation pending
See CT.
See CT report of same day.
Please see separate report.
As above.
See above
Same as findings.
Refer to the CT of the abdomen.
Two views of the chest.
PA and lateral chest radiographs.
Comparison: none.
The patient was discharged home.
The patient tolerated the procedure well.
Thank you for this referral.
Images were sent to the archive.
Technically limited study.
Discussed with the referring team.
Discussed with Dr. ___ at ___.
No prior studies are available for comparison.
No previous films.
Follow up in 6 weeks.
Clinical correlation is recommended.
___
XXXX XXXX.
lorem ipsum dolor sit amet
asdf qwer
The weather is nice today.
The knee is normal.
Normal abdomen.
No change.
Unchanged.
Kein Pneumothorax.
Unauffälliger Befund.
Silhouette cardiaque normale.
Normal.e Herzgröße ohne Erguss
Radiografía de tórax normal.
Torace nella norma.
Corazón normal. Pulmones normales.
""".strip().splitlines()

SAYS_NORMAL = """
Normal chest.
Normal chest radiograph.
Normal.
Normal study.
Unremarkable.
Unremarkable chest x-ray.
Negative chest.
No acute cardiopulmonary abnormality.
No acute disease.
No acute findings.
No evidence of active disease.
No active cardiopulmonary disease.
No acute process.
No acute intrathoracic pathology.
No significant abnormality detected.
No abnormality.
Lungs are clear.
Clear lungs.
The chest is clear.
Heart size is normal.
No effusion.
Within normal limits.
Normal heart and lungs.
No cardiopulmonary abnormality.
No radiographic evidence of tuberculosis.
No acute change.
Pleural spaces are clear.
Unremarkable exam.
NO ACUTE CARDIOPULMONARY PROCESS
1. No acute pulmonary disease.
Stable chest without acute abnormality.
Pneumothorax: none
The lungs appear normal. See CT.
No XXXX abnormality.
""".strip().splitlines()


@pytest.mark.parametrize("text", SAYS_NOTHING)
def test_text_that_says_nothing_about_the_chest_is_all_blank(text):
    assert label_report(text) == (BLANK,) * NUM_FINDINGS
    assert explain_report(text) == []


@pytest.mark.parametrize("text", SAYS_NORMAL)
def test_statement_that_the_chest_is_normal_is_no_finding(text):
    assert label_report(text)[NO_FINDING] == POSITIVE
    assert POSITIVE not in label_report(text)[:NO_FINDING]
