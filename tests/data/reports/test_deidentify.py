"""Removing identities: invented persons are removed in all known styles, and medical text stays."""

import re

import pytest

from data.reports.deidentify import MAX_CHARACTERS, PATTERNS, PLACEHOLDER, missing_needs, remove_identity

INVENTED = """
PATIENT: {DOE, JANE}
Patient: {Doe, Jane A}
Patient name: {Jane Doe}
Patient Name: {DOE^JANE^ANN}
PATIENT NAME: {O'Brien, Mary-Kate}
Name: {Müller, Jürgen}
name: {jane doe}
Pt name: {Nguyen Van Thanh}
Mr. {John Smith} is a 56-year-old man with cough.
Mrs {Okonkwo} presents with fever.
Ms. {Garcia-Lopez} has chest pain.
MRS. {ABIGAIL PRUITT} HAS A COUGH.
Miss {Tanaka} was seen in the ED.
This is Mr {van der Berg} with dyspnea.
{Jane Doe} is a 45 year old woman with fever.
CXR of {Jane Doe}
{Roberta Kowalczyk}, 45F with cough
{SMITH, JOHN} was examined in the supine position.
{John's} chest pain has improved.
The patient, {Maria Fernandez}, reports dyspnea.
Her daughter {Penelope} was told.
Findings discussed with Dr. {Smith} at {3:40 PM} on {03/04/2019}.
Findings were discussed with Dr {Wong} by telephone at {15:40}.
Discussed with Drs. {Patel and O'Connor}.
Results were communicated to {Emily Chen}, RN at {1430 hours}.
Findings were called to {Brad Pilkington} at {10:15 a.m.}
Dr. {Feldman} was paged at {0830} on {Dec 3, 2018}.
Dr. {A. B. Quimby} was notified.
DR. {QUIMBY} WAS NOTIFIED AT {8:14 AM}.
dr. {quimby} was notified by phone.
Telephoned to {Sandoval} on {12-Mar-2019}.
Read by: {Arthur Pendleton}, MD
Dictated by: {Pendleton, Arthur}
Dictated by {ARTHUR PENDLETON} MD
Electronically signed by {Zbigniew Wiśniewski} on {2019-03-04} at {17:22:05}
Electronically signed by: Dr. {Xavier Quennell}, {03/04/19 5:22 PM}
ELECTRONICALLY SIGNED BY {QUENNELL, XAVIER} {04/03/2019}
Signed by {Ingrid Bergström}, M.D., Ph.D.
Approved by: {L. Hutchinson}
Transcribed by {JKL Hutchinson} on {4 March 2019}
Reviewed by {Kwame Mensah}, FRCR
Radiologist: {Priya Raman}
Attending radiologist: {Raman}
Referring physician: Dr. {Horst Eberhardt}
Ordering provider: {EBERHARDT, HORST M}
Resident: {Tobias Lindqvist}
Technologist: {Lindqvist}
Requested by: Prof. {Lindqvist}
Seen by {Wojcik} in clinic.
{Horst Eberhardt}, MD
Interpreted by {Oluwaseun Adeyemi}, M.D.
I, Dr. {Adeyemi}, have reviewed the images.
Nurse {Hathaway} was informed.
Wife, {Gwendolyn}, is at the bedside.
MRN: {123456}
MRN {00123456}
MRN#{4455}
MR# {A12-3344}
Medical record number: {77-88-99}
medical record no. {998877}
Patient ID: {PAT00017}
Pt ID {7781}
Acc# {CR-19-004455}
Accession number: {E1234567}
Accession: {20190304-0017}
ACCESSION NO. {55512}
Account number {9900112}
Case number: {19-2231}
Order # {88123}
Visit number: {V000123}
SSN: {123-45-6789}
His social security number is {123-45-6789}.
SSN {xxx-xx-6789}
NHS number {485 777 3456}
Hospital no. {H445566}
Study ID {XR2019-0042}
{1234567} chest radiograph
ID: {4711}
Chest radiograph, {RAD-00123456}
{1.2.840.113619.2.55.3}
Date of exam: {03/04/2019}
Comparison: {3/4/19}
COMPARISON: {2018-11-30}
Compared to {12/3}, the lungs are clear.
Since {2/14}, edema has increased.
Comparison is made to {March 4, 2019}.
Compared with {4th of March 2019}.
Comparison: {Mar 4 2019} and {11 Dec 2018}.
Chest CT of {04.03.2019}
Prior from {January 2019}.
Prior from {Jan 3}.
Unchanged since {February}.
As seen on {May 2}.
AS SEEN ON {MAY 2, 2019}.
Exam {20190304}.
DOB: {02/03/1950}
Date of birth {February 3rd, 1950}
born {3-2-1950}
Last seen in {03/2019}.
Performed {2019-03-04T08:14:00}.
Chest AP at {8:14 A.M.}
Portable film at {0530} on {1/2/2020}.
Taken {6 pm}.
Scan at {23:59 hours}
Phone: {555-123-4567}
Call {(617) 555-0134} with questions.
Pager {31234}
pager # {5-5512}
Fax {+1 617 555 0199}
Tel. {020 7946 0958}
x-ray department ext. {4432}
Dr. {Low} can be reached at {617.555.0134}
Phone {+49 30 901820}
E-mail {jane.doe@example.org}
Contact {j_doe@hospital.co.uk} for details
See {https://pacs.example.com/study?id=123}
{www.examplehospital.org}
{94}-year-old woman with cough
A {102} year old man
{91} y/o F with dyspnea
{95yo} man
age {97}
{ninety-four}-year-old woman
Lives at {123 Maple Street}, {Springfield, IL 62704}
{45 Old Mill Rd., Apt 4, Boston, MA 02115}
{P.O. Box 1234}
Address: {12 Rosewood Lane}
Cambridge {CB2 0QQ}
Transferred from {St. Mary's} Hospital
Images from {Massachusetts} General Hospital
at {Riverside} Medical Center
Room {412B}
Bed {12}
""".strip().splitlines()

MEDICINE = """
The heart is normal in size. May represent atelectasis.
Compression of T8 and the C7-T1 junction, L4 through S1.
A 1.2 x 3 cm nodule, 5-6 mm, 8mm, 3.5 cm above the carina.
Fractures of ribs 5-6-7 and of 10/12 ribs.
Loss of 2/3 of the height, grade 3/4, stage 1/2.
Kerley B lines, Swan-Ganz catheter, Hickman catheter, Port-A-Cath, Dobhoff tube.
Bochdalek hernia, Hampton hump, Westermark sign, Pancoast tumor, Ghon complex, Crohn disease.
St. Jude valve, Harrington rods, Jackson-Pratt drain, Smith fracture, Jones fracture.
MR Angiography of the chest. MR BRAIN. MS. Right arm weakness.
DR Chest PA and lateral.
1. No effusion. 2. No edema. #3 is a nodule.
A 56-year-old man, 89 years old, 60y male, 54 yo with 30 pack years and an O2 saturation of 98% on 6 liters.
ICD9 786.2, V72.84 and 466.0.
No change since 2014. Followup in 4 to 6 weeks.
Temperature of 101 F, 94% on room air, blood pressure 120/80, EF 55-60%.
Pain of 7/10. Heart 16.2/24.7. FEV1/FVC 0.7. pH 7.35. Cobb angle 12.
Patient: rotated to the left. Patient is rotated. Indication: cough. CC: chest pain.
Discussed with the emergency department. Called to the ICU. Reviewed with the patient.
Dr. ___ was notified at ___ on ___.
Dr. XXXX was called with the XXXX.
Two views of the chest. 2 views. AP and lateral. 3 images.
Right IJ line, 14 French tube, 7 Fr sheath, a 9-mm granuloma in 3rd rib.
The march of events. It will be mild. Mark the rib. Bill of health.
Read by Radiology. PERFORMED BY TECHNIQUE OF CHOICE.
Calcium score 1,234. Volumes of 1200 ml.
Hospital day 3. The Hospital. An outside hospital film.
""".strip().splitlines()


def words(text):
    return re.findall(r"[^\W_]+(?:[.'’/:-][^\W_]+)*", text)


@pytest.mark.parametrize("line", INVENTED)
def test_identities_are_removed_and_other_words_stay(line):
    text, counts = remove_identity(re.sub(r"[{}]", "", line))
    rest = re.sub(r"\{[^}]*\}", " ", line)
    for identity in re.findall(r"\{([^}]*)\}", line):
        assert identity not in text
        for word in words(identity):
            assert word in words(rest) or word not in words(text) or word in "and", text
    assert [word for word in words(rest) if word not in words(text)] == [], text
    assert PLACEHOLDER in text
    assert sum(counts.values()) >= 1


def test_there_are_at_least_a_hundred_invented_lines():
    assert len(INVENTED) >= 100


@pytest.mark.parametrize("line", MEDICINE)
def test_medical_text_is_unchanged(line):
    assert remove_identity(line) == (line, {})


def test_known_names_are_removed_in_any_case_order_and_part():
    text = "pruitt was seen. ABIGAIL M PRUITT. Pruitt, Abigail. Ms. Pruitt's film. pruitt^abigail. Muller and Müller."
    cleaned, counts = remove_identity(text, names=["PRUITT^ABIGAIL^M", "Müller"])
    assert not re.search("pruitt|abigail|m[uü]ller", cleaned, re.IGNORECASE)
    assert counts == {"name": 7}
    assert "was seen" in cleaned


def test_known_numbers_are_removed():
    assert remove_identity("Film A-778 of today", names=["A778", "778"])[0] == "Film A-___ of today"


def test_known_name_that_is_an_ordinary_word_is_removed_only_next_to_its_other_part():
    text = "A long line may be old. May Long has a long history. LONG, MAY."
    assert remove_identity(text, names=["LONG^MAY"])[0] == "A long line may be old. ___ has a long history. ___."


def test_counts_are_by_kind():
    text = "Dr. Quimby was paged at 3:40 PM on 3/4/2019, phone 555-123-4567."
    assert remove_identity(text)[1] == {"name": 1, "time": 1, "date": 1, "phone": 1}


def test_line_breaks_stay_and_runs_of_blanks_become_one():
    assert remove_identity("a  b\tc\n d") == ("a b c\n d", {})


def test_too_long_text_is_rejected_with_its_length():
    with pytest.raises(ValueError, match=f"{MAX_CHARACTERS + 1} characters; at most {MAX_CHARACTERS}"):
        remove_identity("a" * (MAX_CHARACTERS + 1))


def test_removing_identities_twice_equals_once():
    for line in INVENTED:
        cleaned = remove_identity(re.sub(r"[{}]", "", line))[0]
        assert remove_identity(cleaned)[0] == cleaned


def test_patterns_that_are_not_tried_would_find_nothing():
    lines = [re.sub(r"[{}]", "", line) for line in (*INVENTED, *MEDICINE)]
    changed = [[re.sub(r"\d", "", line), re.sub(r"[A-Z]", "X", line), line.upper()] for line in lines]
    texts = [*lines, *(text for several in changed for text in several)]
    skipped = [
        (text, pattern)
        for text, missing in zip(texts, map(missing_needs, texts), strict=True)
        for _, need, pattern in PATTERNS
        if need in missing
    ]
    assert {need for _, need, _ in PATTERNS} == {"", "a digit", "a degree", "a common name"}
    assert len(skipped) > 10_000
    assert [(text, pattern.pattern) for text, pattern in skipped if pattern.search(text)] == []
