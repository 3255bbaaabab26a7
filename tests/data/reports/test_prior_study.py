"""Which sentences refer to a prior study, phrase by phrase."""

import time

import pytest

from data.reports.sentences import speaks_of_prior

SPEAK = {
    "Compared to the prior study, the effusion is larger.": "Compared to",
    "Comparison is made to a chest CT.": "Comparison is made to",
    "There is mild cardiomegaly, similar to prior exams.": "to prior exams",
    "A 9 mm nodule, not seen on the previous radiograph.": "on the previous radiograph",
    "Prior CT showed the nodule.": "Prior CT",
    "Left lung opacity, not well appreciated on prior.": "on prior",
    "No acute abnormality since the previous chest radiograph.": "since the previous chest",
    "Lung volumes are lower since ___.": "since ___",
    "Edema is worse than on yesterday's film.": "yesterday's",
    "The previously seen catheter is gone.": "previously",
    "Hiatal hernia as before.": "as before",
    "The effusion is no longer seen.": "no longer",
    "Unchanged elevation of the right hemidiaphragm.": "Unchanged",
    "No change in the small granuloma.": "No change",
    "No significant interval change.": "No significant interval change",
    "Left base airspace disease without significant change.": "without significant change",
    "Interval placement of a chest tube.": "Interval",
    "Stable cardiomegaly.": "Stable",
    "The cardiomediastinal silhouette is stable.": "stable",
    "A calcified granuloma is again seen.": "again",
    "Redemonstrated left perihilar opacity.": "Redemonstrated",
    "There is a new left effusion.": "new",
    "No new infiltrate.": "new",
    "The mass has increased in size.": "has increased in size",
    "Right effusion is slightly increased in size.": "increased in size",
    "Increasing right pleural effusion.": "Increasing",
    "Improved right lower lobe consolidation.": "Improved",
    "Worsening bibasilar opacities.": "Worsening",
    "The pneumothorax has resolved.": "has resolved",
    "Near-complete resolution of the effusion.": "resolution of",
    "Clearing of left base airspace disease.": "Clearing of",
    "A patchy infiltrate has developed in the right middle lobe.": "has developed",
    "Persistent middle lobe atelectasis.": "Persistent",
    "Continued elevation of the left hemidiaphragm.": "Continued",
    "The left hemidiaphragm remains elevated.": "remains",
    "The endotracheal tube has been removed.": "has been removed",
    "Heart size is now normal.": "now",
}

DO_NOT_SPEAK = """
No prior studies.
No prior studies are available for comparison.
No comparison chest x-ray.
Without a comparison study, the age of this fracture is unknown.
In the absence of prior films, follow-up is advised.
No relevant prior imaging available at time of dictation.
Prior examinations are not available.
If old films are available, comparison would be useful.
Recommend comparison with prior films to confirm stability.
Comparison with previous exams would be helpful.
Comparison films, if available, would be useful.
Recommend followup radiograph to document resolution.
Follow-up in 6 weeks to ensure resolution of the opacity.
Consider short interval followup.
Followup after an appropriate interval.
History of prior surgery.
Status post prior CABG.
Prior granulomatous disease.
Prior chest surgery.
Old healed rib fractures.
Chronic interstitial lung disease.
Degenerative changes of the spine.
Emphysematous changes without effusion.
Increased interstitial markings.
Lung volumes are decreased.
Increased AP diameter of the chest.
Right effusion larger than left.
Bilateral opacities, left worse than right.
The left hemidiaphragm is elevated compared to the right.
The remainder of the lungs is clear.
The patient is clinically stable.
High-resolution CT is suggested.
The lungs are clear.
No pneumothorax or pleural effusion.
Recent laparoscopic surgery.
Residual contrast in the bowel.
Hodgkin lymphoma was previous.
""".strip().splitlines()


@pytest.mark.parametrize("sentence", SPEAK)
def test_reference_to_a_prior_study_is_found_with_its_words(sentence):
    assert speaks_of_prior(sentence) == SPEAK[sentence]
    assert speaks_of_prior(sentence.upper()) == SPEAK[sentence].upper()


@pytest.mark.parametrize("sentence", DO_NOT_SPEAK)
def test_absence_advice_history_and_description_are_no_reference(sentence):
    assert speaks_of_prior(sentence) == ""


@pytest.mark.parametrize("scrap", ["old ", "the ", "prior ", "no any ", "compared to the old ", "comparison, "])
def test_time_is_linear_in_the_length(scrap):
    """For 40,000 characters, a backtracking pattern would take 16 seconds or more."""
    start = time.process_time()
    speaks_of_prior(scrap * (40_000 // len(scrap)) + "end")
    assert time.process_time() - start < 3
