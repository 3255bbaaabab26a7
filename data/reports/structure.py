"""Write the findings of a report by organ system: each system that has sentences, after its heading.

    structured_findings(findings, impression)     # the text, or the findings as they are
    structured_report(report)                     # both sections; the impression is unchanged

Sentences are moved, never changed or split. A sentence belongs to the system of its main statement: the first
abnormality or device that it states, otherwise the first organ or finding that it names. "No consolidation, effusion
or pneumothorax." stays whole, under Lungs. A sentence that goes on about the one before ("It is unchanged.") stays with
it, and the order within a system is kept. A heading of the report's own ("LUNGS: …") decides for all its sentences,
until the next heading or an empty line, and takes the place of ours.

Our headings stand on lines of their own, without a colon, because a colon states something: "Heart and mediastinum:
Heart size is normal." also denies Enlarged Cardiomediastinum. The words of a report and its labels (`label_report`) are
the same before and after. Each report is checked, and if a label would change or a word is lost (such as a line of
dashes), its findings stay as they are. So do findings without any organ, such as those in another language.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from data.reports.labeler.device_patterns import DEVICES, find_devices
from data.reports.labeler.labeler import CONTINUES_LAST, label_report
from data.reports.labeler.parser import as_read
from data.reports.labeler.statements import ANY_DEVICE, GOES_ON, Statement, sentence_statements
from data.reports.sentences import split_sentences
from vlm.schema.findings import POSITIVE, UNCERTAIN
from vlm.schema.report_format import compose_report, split_report

LUNGS, PLEURA, HEART, BONES, DEVICE, OTHER = SYSTEMS = (
    "Lungs",
    "Pleura",
    "Heart and mediastinum",
    "Bones",
    "Devices",
    "Other",
)
"""The headings, in the order of the text."""

_NAMES = {
    LUNGS: (
        "lung opacity", "interstitial opacity", "lung mass", "lung nodule", "vascular congestion", "pulmonary edema",
        "consolidation", "pneumonia", "atelectasis", "tuberculosis", "aspiration", "contusion or hemorrhage",
        "lung abscess", "volume loss", "interstitial lung disease", "emphysema", "hyperinflation", "bronchiectasis",
        "bronchial wall thickening", "granuloma", "scar", "low lung volumes", "lung resection",
    ),
    PLEURA: (
        "hemothorax or empyema", "pleural effusion", "pleural thickening", "pneumothorax", "blunted costophrenic angle",
    ),
    HEART: (
        "widened mediastinum", "cardiomegaly", "pneumomediastinum", "mediastinal shift", "aortic aneurysm",
        "pericardial effusion", "lymphadenopathy", "hiatal hernia", "pulmonary hypertension", "tortuous aorta",
        "vascular calcification",
    ),
    BONES: (
        "fracture", "rib fracture", "spine fracture", "old fracture", "bone lesion", "dislocation",
        "vertebral deformity", "degenerative change", "scoliosis", "osteopenia", "cervical rib or variant",
    ),
    DEVICE: (*DEVICES, ANY_DEVICE),
    OTHER: (
        "free air", "subcutaneous emphysema", "foreign body", "elevated hemidiaphragm", "bowel distension",
    ),
}  # fmt: skip
SYSTEM_OF = {name: system for system, names in _NAMES.items() for name in names}
"""The system of each name that a statement can have."""

_ORGANS = {
    DEVICE: r"(?:chest |support |endotracheal |enteric )?tubes?|tips?|catheters?|leads?|wires?|clips?|hardware|"
    r"devices?|support lines|lines and tubes|lines/tubes|(?:median )?sternotomy|prosthe\w+|sutures?|stents?|drains?",
    PLEURA: r"pleura\w*|effusions?|pneumothora\w*|costophrenic|cardiophrenic|cp angles?|sulc(?:us|i)|fissures?|"
    r"empyema|h(?:a?em|ydr)othora\w*",
    BONES: r"(?:thoracic |lumbar |cervical |lumbosacral )?(?:spin(?:e|al)|vertebra\w*|cage|skelet\w*|dis[ck]s?)|"
    r"bon(?:es?|y)|osseo?us|ribs?|clavic\w*|sternum|sternal|scapul\w*|shoulders?|humer\w*|degenerat\w*|"
    r"fractur\w*|(?:kypho)?scolio\w*|kypho\w*|osteo\w*|spondyl\w*|endplates?|joints?|arthr\w*|sacr(?:um|al)|pelvis|"
    r"knees?|hips?|femur|wrists?|elbows?|ankles?|spurring|dish|t\d{1,2}|l[1-5]|"
    r"curvature|lordo\w*|(?:sub)?luxation|dislocat\w*",
    OTHER: r"soft tissues?|(?:upper )?abdom\w*|(?:hemi)?-?diaphragm\w*|bowel|stomach|gastric|colon|liver|spleen|"
    r"gallbladder|cholecystectomy|free (?:\w+ )?(?:air|gas)|subcutaneous|breasts?|neck|thyroid|chest wall",
    HEART: r"hearts?|cardiac|cardiomegal\w*|cardio ?-?mediastin\w*|cardio(?= )|mediastin\w*|aort\w*|hil(?:a|um|ar)|"
    r"silhouettes?|trachea\w*|pericardi\w*|paratracheal|(?:left|right) (?:ventric\w*|atri\w*)|lymph\w*|adenopathy|"
    r"epicardial|esophag\w*|hiatal|thymus|thymic|great vessels|coronary|azygos",
    LUNGS: r"lungs?|pulmonary|lobes?|lobar|lingula\w*|parenchym\w*|interstiti\w*|air ?-?spaces?|airways?|bronch\w*|"
    r"alveol\w*|opaci\w*|consolidat\w*|infiltrat\w*|pneumoni\w*|nodul\w*|mass(?:es)?|atelect\w*|o?edema|congest\w*|"
    r"vascul\w*|granulom\w*|scar\w*|emphysem\w*|copd|hyper-?(?:inflat|expan)\w*|retrocardiac|perihilar|\w+hilar|"
    r"(?:bi)?bas(?:al|ilar|es?)|apices|apical|apex|haz[ey]\w*|densit\w*|markings|b-lines|cavit\w*|tubercul\w*|"
    r"cephali[sz]ation|aspirat\w*|volumes?|inspirat\w*|aerat\w*",
}
"""Words of each system; of two that begin at the same place, the one of the earlier system counts."""
_ORGAN = re.compile(
    rf"(?<![\w-])(?:{'|'.join(f'(?P<s{SYSTEMS.index(system)}>{words})' for system, words in _ORGANS.items())})(?!\w)"
)

_OF_LAST = re.compile(
    r"(?:(?:however|otherwise|again|also|in addition|overall),? )?(?:"
    r"(?:it|its|this|these|they|their|those|that)\b|"
    r"(?:both|one|some|all|most|many|none|neither|two|the (?:other|latter|former|same|largest|first|second)) "
    r"(?:of (?:these|which|them)|is|are|was|were|has|have|may|could|measures?)\b|"
    r"(?:the )?(?:left|right)(?: side| one)? (?:is|are|has|measures)\b)",
    re.IGNORECASE,
)
"""The beginning of a sentence whose subject is in the one before, whatever else it names."""
_ABOUT_LAST = re.compile(
    r"(?:(?:otherwise|again|also|in addition),? )?(?:"
    r"(?:no|without|there (?:is|are|has been) no|not) (?:\w+ ){0,2}(?:change|improvement|worsening)|"
    r"(?:\w+ ){0,3}(?:unchanged|stable|similar|improved|worse|increased|decreased|resolved|progress\w+)\b|"
    r"(?:the )?(?:findings?|appearance|etiology|differential|significance|possibilit\w+|distribution|pattern)\b|"
    r"(?:likely|possibly|probably|presumably|suggest\w*|suspicious|concerning|consistent|compatible|representing|"
    r"may|could|which|measuring|recommend\w*|consider|advise|correlat\w*|please|if|further|dedicated|clinical|ct|"
    r"follow[ -]?up)\b)",
    re.IGNORECASE,
)
"""The same, if the sentence names no organ or finding: "Unchanged.", "Clinical correlation is recommended."."""

_HEADING = re.compile(r"(?P<name>[a-z][a-z ,/&()-]{2,48}?)(?: ?:| [-–—](?= )|(?P<alone>\.?)$)", re.IGNORECASE)
_BESIDE_ORGAN = re.compile(
    r"(?:left|right|bilateral|the|and|upper|visuali[sz]ed|other|additional|chest|thorax|thoracic|fields?|size|"
    r"structures?|contours?|spaces?|cage|wall|angles?|tissues?|monitoring|support|lines?|findings|vessels|skeleton|"
    r"surfaces?|organs?|apparatus|hilar|surgical|changes?|medical|borders?|region|(?=\W)[ ,/&()-])*",
    re.IGNORECASE,
)
"""What a heading may have beside the name of an organ: "VISUALIZED OSSEOUS STRUCTURES"."""
_OUR_HEADINGS = {system.lower(): system for system in SYSTEMS}
_BREAK = re.compile(rf"\n\s*\n|(?:^|(?<=\n))({'|'.join(SYSTEMS)})(?:\n|$)")
"""A blank line, or a line with one of our headings, which is kept."""
_WORD = re.compile(r"\w+|[^\w\s]")
_ENDS_SENTENCE = re.compile(r"[.!?;:][\"')\]]?$")


def structured_report(report: str) -> str:
    """The report with its findings by organ system, each section on lines of its own."""
    sections = split_report(report)
    findings = structured_findings(sections.findings, sections.impression)
    structured = _composed(findings, sections.impression)
    return structured if findings != sections.findings and _is_same(report, structured) else report


def structured_findings(findings: str, impression: str = "") -> str:
    """The findings by organ system, or as they are; the impression is only read."""
    groups = by_system(findings)
    if not set(groups) - {OTHER}:
        return findings
    text = "\n".join(map(_lines, groups, groups.values()))
    before = compose_report(findings=findings, impression=impression)
    return text if _is_same(before, _composed(text, impression)) else findings


def _is_same(before: str, after: str) -> bool:
    """Whether no word is lost and no label changes."""
    lost = Counter(_WORD.findall(before)) - Counter(_WORD.findall(after))
    return not lost and label_report(before) == label_report(after)


def _composed(findings: str, impression: str) -> str:
    parts = (("Findings", findings), ("Impression", impression))
    return "\n".join(f"{heading}:\n{text}" for heading, text in parts if text)


def by_system(findings: str) -> dict[str, list[str]]:
    """The sentences of each system that has any, in the order of SYSTEMS."""
    groups: dict[str, list[str]] = {system: [] for system in SYSTEMS}
    for system, sentence in _with_systems(findings):
        groups[system].append(sentence)
    return {system: sentences for system, sentences in groups.items() if sentences}


def _with_systems(findings: str) -> Iterator[tuple[str, str]]:
    last = headed = sentence = ""
    for part in _BREAK.split(findings):
        if part is None:
            headed = headed if sentence.endswith(":") else ""
        elif part in SYSTEMS:
            headed = last = part
            yield part, part
        else:
            for sentence in split_sentences(part):
                heading = _system_of_heading(sentence)
                headed = headed if heading is None else heading
                last = headed or _system_of(sentence, last)
                yield last, sentence


def _system_of_heading(sentence: str) -> str | None:
    """The system of the heading that a sentence begins with ("LUNGS: Clear."); "" if the heading names no organ; None
    without one."""
    heading = _HEADING.match(sentence)
    if heading is None:
        return None
    name, is_alone = heading["name"].lower(), heading["alone"] is not None
    if name in _OUR_HEADINGS:
        return _OUR_HEADINGS[name]
    is_name = _BESIDE_ORGAN.fullmatch(_ORGAN.sub("", name)) is not None
    if is_alone and (not is_name or sentence_statements(sentence)):
        return None
    organ = _ORGAN.search(name)
    return _system_of_word(organ) if organ and is_name else ""


def _system_of(sentence: str, last: str) -> str:
    """The system of a sentence without a heading; `last` is that of the sentence before."""
    goes_on_about_device = last == DEVICE and GOES_ON.match(sentence)
    if last and (_OF_LAST.match(sentence) or CONTINUES_LAST.match(sentence) or goes_on_about_device):
        return last
    if main := _main_statement(sentence_statements(sentence)):
        return SYSTEM_OF[main.name]
    text = as_read(sentence)
    devices = find_devices(text)
    if organ := _ORGAN.search(text, 0, devices[0][0] if devices else len(text)):
        return _system_of_word(organ)
    return DEVICE if devices else last if last and _ABOUT_LAST.match(sentence) else OTHER


def _main_statement(statements: Sequence[Statement]) -> Statement | None:
    """The first one that is not denied, but not a device after another statement ("heart is normal, pacemaker")."""
    stated = next((one for one in statements if one.state in (POSITIVE, UNCERTAIN)), None)
    return statements[0] if stated and SYSTEM_OF[stated.name] == DEVICE else stated


def _system_of_word(organ: re.Match) -> str:
    return SYSTEMS[int(organ.lastgroup[1:])]


def _lines(system: str, sentences: list[str]) -> str:
    """The sentences of a system after its heading, unless they have one of their own."""
    text = "" if _system_of_heading(sentences[0]) else f"{system}\n"
    for sentence, following in zip(sentences, [*sentences[1:], ""], strict=True):
        is_open = not _ENDS_SENTENCE.search(sentence) or _system_of_heading(following)
        text += sentence + ("\n" if is_open else " ")
    return text.strip()
