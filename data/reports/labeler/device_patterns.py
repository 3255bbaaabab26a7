"""Devices by kind, and where they end: in a good place, in a bad one, or not said.

The labeler has one finding for all devices. The patterns are for text in lower case (`parser.as_read`); the earlier
kind wins. `read_position` reads the words that belong to one device."""

import re
from dataclasses import dataclass

from data.reports.labeler.attributes import read_size

DEVICES = {
    "endotracheal tube": r"endotracheal(?: tubes?)?|e\.?t\.? tubes?|ett|intubat(?:ed|ion)|extubat(?:ed|ion)",
    "tracheostomy tube": r"trach(?:eostomy)?(?: tubes?| cannula)?",
    "enteric tube": r"(?:nas|or)o-?(?:gastric|enteric|jejunal|duodenal)(?: (?:feeding )?(?:tubes?|catheter))?|"
    r"(?:ng|og|nj|feeding|enteric|gastric|gastrostomy|peg)[ -]?tubes?|[no]gt|dobb?-?hoff(?: \w+)? tubes?|dobb?-?hoff|"
    r"esophageal (?:temperature )?probe|weighted tube",
    "chest tube": r"(?:chest|thoracostomy|pleural|pigtail|mediastinal|pleurx|thoracic)(?: \w+)? (?:tubes?|drains?|"
    r"catheters?)|"
    r"pigtails?|chest drains?",
    "pulmonary artery catheter": r"swan[- ]?ganz(?: catheter)?|(?:pulmonary artery|pa) catheters?",
    "PICC": r"(?:peripherally inserted central catheter|picc|pic)s?(?: (?:line|catheter)s?)?",
    "port": r"(?:port-?a-?caths?|portacaths?|media-?ports?|infus-?a-?ports?|power-?ports?|chest ports?(?! ?able)|"
    r"infusion ports?|(?:subclavian|jugular|ij|chest wall|venous) ports?|port-?catheters?|ports?(?= catheter| tip|"
    r"-a-))(?: catheter)?",
    "dialysis catheter": r"(?:(?:(?:internal )?jugular|ij|subclavian|femoral) )?(?:dialysis|hemodialysis|permacath|"
    r"perm-?cath|tunneled|hd)(?: \w+)? (?:catheter|line)s?|"
    r"perma?-?caths?",
    "central line": r"central(?: venous)?(?: access)? (?:line|catheter)s?|cvcs?|cvls?|"
    r"(?:internal jugular|jugular|ij|subclavian|femoral)(?: \w+){0,2} (?:line|catheter|sheath|cordis)s?|"
    r"(?:hickman|cordis|venous sheath|venous catheter)(?: (?:line|catheter))?s?|"
    r"(?:right|left) (?:ij|internal jugular|subclavian)(?= (?:is|tip|terminat|end|in|with))",
    "pacemaker": r"(?:(?:dual|single|triple|bi)[ -]?(?:chamber|lead|ventricular|"
    r"v) ){0,2}(?:cardiac )?(?:pace-?makers?|pacers?|"
    r"aicd|icd|defibrillators?|pacing (?:device|leads?|wires?)|pacemaker(?:/icd)?)(?: (?:leads?|wires?|device))?|"
    r"pulse generator|cardiac (?:conduction )?device|(?:atrial|ventricular) leads?|epicardial wires?",
    "circulatory assist device": r"(?:intra-?aortic )?balloon pump|iabp|l-?vads?|impella|ecmo(?: cannulas?)?|"
    r"ventricular assist device",
    "sternal wires": r"(?:median )?stern(?:otomy|al)(?: \w+)? wires?|(?:median )?sternotomy|cerclage wires?|"
    r"sternal (?:sutures?|hardware)",
    "heart valve": r"(?:(?:prosthetic|mechanical|artificial|bioprosthetic|aortic|mitral|tricuspid|heart|cardiac) ){1,2}"
    r"valves?(?: (?:replacements?|prosthes[ie]s))?(?! (?:calcif|disease|stenosis|area))|tavr|valve (?:replacement|"
    r"prosthesis)|annuloplasty(?: ring)?",
    "surgical clips": r"(?:surgical |cholecystectomy |vascular |mediastinal |axillary ){0,2}(?:clips?|staples?|"
    r"suture (?:line|material|chain)s?|sutures?)|"
    r"cabg|coronary (?:artery )?bypass(?: graft\w*)?|bypass graft\w*",
    "stent": r"(?:\w+ )?stents?",
    "orthopedic hardware": r"(?:spinal|cervical|lumbar|thoracic|posterior|anterior) (?:fusion|hardware|"
    r"rods?)(?: hardware)?|"
    r"(?:orthopedic|surgical|fixation|metallic) (?:hardware|plates?|screws?|rods?)|arthroplast\w+|(?:shoulder|"
    r"joint) prosthesis|kyphoplasty|vertebroplasty",
    "other device": r"(?:vp|ventriculoperitoneal|shunt)(?: (?:shunt|catheter|tubing)s?)+|(?:nerve |spinal |"
    r"neuro)?stimulators?|"
    r"(?:ivc|vena cava) filters?|loop recorders?|breast implants?|bullet(?: fragments?)?|lap(?:aroscopic)? band",
}  # fmt: skip
"""Kind of device -> its names, in order of precedence."""
_ALTERNATIVES = "|".join(f"(?P<d{number}>{names})" for number, names in enumerate(DEVICES.values()))
_DEVICE = re.compile(rf"(?<![\w-])(?:{_ALTERNATIVES})(?!\w)")
_KINDS = {f"d{number}": kind for number, kind in enumerate(DEVICES)}

GONE = re.compile(r"extubat\w+")
"""A word that says that the device was taken out."""


def find_devices(text: str) -> list[tuple[int, int, str]]:
    """Start, end and kind of each device that is named, in order."""
    return [(match.start(), match.end(), _KINDS[match.lastgroup]) for match in _DEVICE.finditer(text)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """Where a device ends. `is_good`: None if the words do not judge it; `place`: a key of PLACES or "";
    `distance_mm`: from that place."""

    is_good: bool | None = None
    place: str = ""
    distance_mm: float | None = None


PLACES = {
    "main bronchus": r"main ?-?stem|main bronch\w+|bronchus intermedius|(?:right|left|lower lobe) bronch\w+",
    "airway": r"(?:in|into|within) the (?:airway|trachea|right lung|left lung)",
    "esophagus": r"esophag\w+|(?:ge|gastro-?esophageal) junction",
    "carina": r"carina|tracheal bifurcation",
    "thoracic inlet": r"thoracic inlet|clavic\w+",
    "cavoatrial junction": r"cavo-?atrial(?: junction)?|svc/ra|atriocaval(?: junction)?",
    "right atrium": r"right atri\w+",
    "right ventricle": r"right ventric\w+|rv apex",
    "superior vena cava": r"svc|superior vena cava|vena cava",
    "brachiocephalic vein": r"brachiocephalic|innominate",
    "subclavian vein": r"(?:in|within|at) the (?:\w+ )?(?:subclavian|axillary)|axillary vein|axilla",
    "jugular vein": r"(?:in|into|within|up) the (?:\w+ )?(?:internal )?jugular",
    "azygos vein": r"azyg[oa]s",
    "pulmonary artery": r"(?:in|within|into) the (?:\w+ ){0,2}pulmonary (?:artery|outflow)",
    "stomach": r"stomach|gastric (?:body|fundus|antrum|bubble)|below the (?:left )?(?:hemi)?diaphragm|fundus",
    "duodenum": r"duoden\w+|jejun\w+|pylor\w+|post-?pyloric",
    "apex": r"ap(?:ex|ical)",
    "base": r"bas(?:e|al|ilar)",
}
_PLACES = {place: re.compile(rf"\b(?:{words})\b") for place, words in PLACES.items()}
_TIP = re.compile(
    r"\b(?:tip|tips|terminat\w+|ends?|ending|position\w*|located|"
    r"location|project\w*|extend\w*|course\w*|coil\w*|loop\w*|"
    r"side ?(?:port|hole)s?|(?:in|within|at|near|above|below|into) the)\b")  # fmt: skip
_BAD = re.compile(
    r"\bmal-?position\w*|\bmisplaced\b|\bmain ?-?stem|\bmain bronch|\bcoil(?:ed|s|ing)?\b(?! (?:in|"
    r"within) the (?:\w+ )?(?:stomach|fundus))|"
    r"\btoo (?:high|low|deep|far)|\b(?:should|could|needs?|must|recommend\w*|suggest\w*|advis\w*|"
    r"consider)\b[^.;]{0,40}?"
    r"\b(?:advanc\w+|withdraw\w*|retract\w*|pull\w*|reposition\w*|adjust\w*|remov\w+)|\bkink\w*|\bdislodged\b|"
    r"\bdisplaced\b|"
    r"\bside ?(?:port|hole)s?\b[^.;]{0,40}\b(?:above|at|proximal|near|in the distal)\b|"
    r"\b(?:in|within|into) the (?:\w+ ){0,3}(?:esophagus|airway|bronchus|right lung|left lung|azygos|hepatic)|"
    r"\b(?:at|abuts?|touch\w*|below|beyond|past) (?:the )?(?:level of the )?carina|\b(?:low|high)[- ](?:lying|riding)|"
    r"\b(?:out(?:side)? of|above) the (?:stomach|diaphragm|ge junction|gastro-?esophageal junction)|\bfracture[ds]?\b|"
    r"\bin(?:to)? the (?:\w+ )?(?:internal )?jugular|\baxillary vein|\bin the axilla|\bin the (?:right )?ventricle\b|"
    r"\bextrapleural|"
    r"\boutside the pleural"
)
_ADVICE = re.compile(
    r"\b(?:advance(?:ment)?|advancing|withdraw(?:al|ing)|retract(?:ion|ing)|reposition(?:ing)?|removal) "
    r"(?:(?:by|of) [\w. ]{1,20})?(?:is|are|would be|may be|should be) (?:\w+ )?"
    r"(?:suggest|recommend|advis|need|consider)|"
    r"^(?:recommend|suggest|consider|advis)\w*\b.{0,40}\b(?:advanc|withdraw|retract|reposition|pull)|"
    r"^(?:withdraw|retract|reposition|advanc)\w*|\b(?:is|lies|ends|sits|too) (?:\w+ )?(?:high|low)\b"
)
_NOT_BAD = re.compile(r"\b(?:no|not|without)(?: \w+){0,3} (?:mal-?position\w*|kink\w*|displaced|fractured?|coil\w*)")
_GOOD = re.compile(
    r"\b(?:standard|appropriate(?:ly)?|good|satisfactor(?:y|ily)|correct(?:ly)?|expected|adequate(?:ly)?|"
    r"optimal(?:ly)?|"
    r"proper(?:ly)?|acceptable|normal|usual|unchanged|stable|constant|unremarkable|same)(?: and \w+)? "
    r"(?:\w+ )?(?:position(?:s|ed|ing)?|locations?|placed|placement|course|configuration)|\bwell[- ](?:position|place)|"
    r"\b(?:is|are|remains?) in (?:place|situ|position)|\babove (?:the )?(?:level of the )?carina|\bcavo-?atrial|"
    r"\bsvc\b|vena cava|"
    r"\b(?:in|within|into|reach\w*) the (?:\w+ )?(?:stomach|duodenum|fundus|right ventricle|right atrium)|"
    r"\bbelow the (?:\w+ )?(?:diaphragm|hemidiaphragm)|\bpost-?pyloric|\bposition(?:s|ed|ing)? (?:is|are|remains?) "
    r"(?:unchanged|stable|appropriate|satisfactory|normal|good|standard)|\bintact\b"
)


def read_position(kind: str, words: str) -> Position:
    """The position of a device of this kind from the words that belong to it."""
    plain = _NOT_BAD.sub(" ", words)
    is_bad = _BAD.search(plain) is not None or _ADVICE.search(plain) is not None
    if (
        kind == "pacemaker"
        and "right ventric" in words
        and not re.search(r"\bmal-?position|\bdisplac|\bfracture", words)
    ):
        is_bad = False
    if (
        is_bad
        and kind != "endotracheal tube"
        and re.search(r"\bcarina\b", words)
        and not re.search(r"mal-?position|should|coil", words)
    ):
        is_bad = False  # the level of the carina is fine for a catheter
    has_tip = _TIP.search(words) is not None
    place = next((place for place, pattern in _PLACES.items() if pattern.search(words)), "") if has_tip else ""
    return Position(
        is_good=False if is_bad else True if _GOOD.search(words) else None,
        place=place,
        distance_mm=read_size(words) if place else None,
    )
