"""Recognize sentences that state something about the chest without naming one of the 14 findings.

No Finding needs at least one such sentence or a denied finding: a report of "See CT." says nothing.
"""

import re

_GENERAL = (
    r"(?:disease|abnormalit(?:y|ies)|abnormal|findings?|process(?:es)?|patholog(?:y|ic\w*)|tuberculosis|tb|"
    r"active|acute|cardiopulmonary|intrathoracic|infiltrative|problem|deformit(?:y|ies)|lesions?|adenopathy|"
    r"lymphadenopathy|free air|enlargement|silicosis|asbestosis|sarcoid\w*)"
)
_CHEST = (
    r"(?:chest|cxr|thora(?:x|cic)|lungs?|lung fields|pulmonary|cardiopulmonary|heart|cardiac|cardio\w+|silhouettes?|"
    r"mediastin\w+|pleura\w*|hil(?:a|ar|um)|aort\w+|ribs?|bon(?:y|es?)|osseous|skelet\w+|costophrenic|diaphragm\w*|"
    r"hemidiaphragm\w*|airways?|airspaces?|trachea\w*|vascula\w+|interstiti\w+|volumes?|markings|apices|bases?|spine)"
)
_STUDY = r"(?:stud(?:y|ies)|exam(?:ination)?s?|radiographs?|x-?rays?|films?|views?|images?|appearance)"
_NORMAL = (
    r"(?:normal(?:ly)?|unremarkable|negative|clear|intact|wnl|within normal limits|well[ -]"
    r"(?:expanded|aerated|inflated))"
)
_OTHER_BODY_PART = re.compile(
    r"\b(?:abdom\w+|pelvi\w+|knees?|hips?|femur|femoral|tibia\w*|ankles?|f(?:oo|ee)t|hands?|wrists?|elbows?|fingers?|"
    r"toes?|skull|brain|head|sinus(?:es)?|teeth|liver|kidneys?|renal|bladder|bowel)\b"
)
_OTHER_CONDITION = (
    r"(?:granuloma\w*|scar\w*|emphysema\w*|hyperinflat\w+|hyperexpan\w+|fibrosis|(?:lymph)?adenopathy|scoliosis|kyphosis|"
    r"spondylosis|copd|bronchi\w+|hernia|tortuous|hyperlucen\w+|low lung volumes)"
)
_IN_CHEST = re.compile(rf"\b{_CHEST}\b")
_STATES = re.compile(
    rf"\b(?:no|not|without|negative for|free of|absence of|nothing|neither|nil)\b[^.;]{{0,120}}?\b{_GENERAL}\b|"
    rf"\b{_NORMAL}\b[^.;]{{0,120}}?\b(?:{_CHEST}|{_STUDY})\b|\b(?:{_CHEST}|{_STUDY})\b[^.;]{{0,120}}?\b{_NORMAL}\b|"
    rf"\b{_OTHER_CONDITION}\b|^\W*(?:\d+[.)] ?)?(?:grossly |essentially |entirely |completely )?{_NORMAL}\W*$"
)


def states_chest(sentence: str, *, has_mention: bool) -> bool:
    """Whether a sentence denies or describes something in the chest. `has_mention`: one of the findings."""
    sentence = sentence.lower()
    if _OTHER_BODY_PART.search(sentence) and not _IN_CHEST.search(sentence):
        return False
    return has_mention or _STATES.search(sentence) is not None
