"""Removing identities in styles of real reports, with invented names that are also English or foreign words."""

import re
import time

import pytest

from data.reports.deidentify import remove_identity

STYLES = """
Discussed with {Will Schmidt} in the emergency department.
Discussed with {Hope Okafor} at length.
Results called to nurse {Grace}.
Results called to nurse {Ji-woo} on the ward.
Reported to RN {Søren Brown}.
Telephoned to charge nurse {Dominguez}.
{S.S. Smith} reviewed the images.
{M.C. Castellanos} reviewed the images.
{J. R. Patterson} interpreted this study.
{Wood's} prior film was reviewed.
{Castellanos'} previous radiograph is not available.
Radiologist {Mbeki Will}.
Radiologist {Hill Grace}.
Staff radiologist {Ito} concurs.
Patient {Anton Nakamura} with cough.
Patient {Zed Okafor}, a 54 year old man.
Pt {Nakamura} presents with fever.
Attending {Oyelaran} agrees.
Attending {Fitzgerald} agrees with the interpretation.
Resident {Vasquez} reviewed the study.
Paged Dr {White} and {Will Johnson}.
Paged {Dr White and Hope Long}.
Thank you for referring {Grace Long}.
Thank you for referring {Mr Kim} to us.
{LONG,CHLOÉ} Chest PA.
{JOHNSON,LAYLA} Chest PA.
{Grace Zielińska} is a 54 year old man with cough.
{Hope Park} is a 61-year-old woman.
Prior {3 17 2018}.
Prior {2 / 16 / 2012}.
Comparison {11 18 2016} and {12 / 4 / 2011}.
Film of {Tuesday 27 March}.
Patient ID {746 958 937}.
MRN {123 456 78}.
Called at {x8680}.
Reached at extension {x 4410}.
Lives at {825 Østergaard Street}, {Springfield, IL 62704}.
{658 rossi street}.
{125 nguyen street}.
{12 whitcombe avenue}, {apt 4}.
E-mail {søren at example dot org}.
Contact {a.haddad (at) clinic (dot) com}.
Seen at {St. Will's}.
Seen at {St. John's} last year.
From {Brandstetter Med Ctr}.
From {Castellanos Med Ctr} yesterday.
Transferred from {Whitcombe} Memorial Hospital.
aged {ninety-three}.
A {ninety-three} year old.
License plate {AB 231 CD}.
Posted {@whitcombe10}.
Electronically signed by {April Kowalczyk}, MD.
Per {Dr. Haddad}, no change.
As requested by {Oyelaran}.
Spoke to {Mbeki} by phone.
Message left for {Kowalczyk}.
Findings relayed by phone to {Castellanos}.
Informed consent from {Layla Brown}.
Mother {Natalia} at bedside.
His wife {Giulia} called.
Report sent to {Dr. Fitzgerald's} office.
I spoke with {Brandstetter} about these results.
cc: {J. Brandstetter}
Signed: {O. Haddad}
Reviewed and signed, {Haddad}, MD
Resident: {Will}
Pt: {Hope Hill}
PATIENT {BRANDSTETTER, HOPE}
NAME {Will Long}
Pt name {will long}
Insurance ID {XK-88 2231}
Passport no {X1234567}
Driver's license {D123-4567-8901}
IP address {192.168.12.45}
Device serial no. {SN-0099-12}
SSN {637 45 7609}
DOB {08 25 1953}
Date of birth {25-Aug-53}
Born on {August 25}
Admitted {3/14}, discharged {3/19}.
Dictated {03/04/19} at {2:35pm}.
D: {03/04/2019} T: {03/05/2019}
Job ID {7761234}
Order {A7761234}.
Bed {12B}, ward {7 West}.
Fax to {555.123.4567}.
Text {5551234567}.
Zip {62704}.
County of {Okanogan}.
""".strip().splitlines()


def words(text):
    return set(re.findall(r"[^\W_]+", text.lower()))


@pytest.mark.parametrize("line", STYLES)
def test_no_word_of_an_identity_survives(line):
    text, counts = remove_identity("The lungs are clear. " + re.sub(r"[{}]", "", line) + " No effusion.")
    kept = words(re.sub(r"\{[^}]*\}", " ", line))
    identities = set().union(*(words(identity) for identity in re.findall(r"\{([^}]*)\}", line)))
    dull = {"dr", "mr", "and", "s", "at", "dot", "com", "org", "year", "med", "ctr", "apt", "x", "am", "pm"}
    assert not (identities - kept - dull) & words(text), text
    assert sum(counts.values()) >= 1
    assert text.startswith("The lungs are clear.")
    assert text.endswith("No effusion.")


MEDICINE = """
Discussed with Surgery. Discussed with the team. Findings discussed with Emergency Department staff.
Attending physician notified. Attending agrees. Radiologist agrees. Resident read. Radiologist review is pending.
Nurse notified. Nurse at bedside. Called to nurse station.
Right's and left's. The patient's prior film was reviewed. Today's prior film. Yesterday's radiograph.
Prior 3 views. Prior 2 / 3 lobes. 1 2 3 ribs. Ribs 3 4 5 are intact. 12 3 4.
Seen at St. Jude valve. From the left base. From Right to left. From Above.
Thank you for this referral. Thank you for referring this patient.
PA,LATERAL chest. AP,PORTABLE chest. LEFT,RIGHT. CHEST,TWO views. PA,LAT Chest.
Aged lungs. Aged ninety percent. Main street of the bronchus. Broad street.
Posted @ 10. License to treat. At x2 magnification. Called at x-ray.
Small Right Effusion. Moderate Cardiomegaly. Stable Chest.
Mother and child. Wife present. Per protocol. Per CT. As requested by Surgery. Spoke to the nurse.
Patient Rotated Left with low volumes. Patient rotation has improved.
Patient Rotated. Patient supine. Name of the lesion. Prior Chest CT. Contact at dot.
Line at level of T4. Tube at 4 cm. Tip at SVC. Film of the chest. Order of magnitude. Job well done.
T: 98.6. D: dimer. Text unclear. Born prematurely. Ward film. Admitted for cough. County general.
""".strip().splitlines()


@pytest.mark.parametrize("line", MEDICINE)
def test_words_of_reports_stay(line):
    assert remove_identity(line) == (line, {})


ENDLESS = [
    "A.",
    "A. ",
    "a at ",
    "x 1",
    "1 / ",
    "1 2 ",
    "St. A",
    "12 ab ",
    "Wood's ",
    "LONG,",
    "cc: A ",
    "name a ",
    "nurse A ",
]
ENDLESS += ["Attending A ", "license AB ", "ninety-", "@a", "Friday ", "County of ", "ward 7 ", "A'", "12 34 ", "aged "]


@pytest.mark.parametrize("unit", ENDLESS)
def test_time_is_linear_in_the_length(unit):
    """Quadratic time would take minutes at this length."""
    started = time.process_time()
    remove_identity(unit * (50_000 // len(unit)))
    assert time.process_time() - started < 15
