"""Abnormalities that the 14 findings do not cover, from free air to a tortuous aorta: name and patterns.

The patterns are for text in lower case (`parser.as_read`); the earlier name wins. A phrase that is also a word of the
labeler ("calcified nodule", "vascular congestion") takes precedence over its finding here."""

import re

OTHERS = {
    "free air": r"pneumo-?peritoneum|free (?:intra-?(?:abdominal|peritoneal) )?(?:air|gas)(?: (?:under|below|"
    r"beneath) the \w+)?|"
    r"(?:intra-?peritoneal|sub-?diaphragmatic) (?:free )?air",
    "pneumomediastinum": r"pneumo-?mediastinum|mediastinal (?:air|emphysema)|pneumo-?pericardium",
    "mediastinal shift": r"(?:mediastinal|midline|tracheal|rightward|leftward|contralateral) (?:shift|deviation)|"
    r"shift of the (?:mediastin\w+|midline|heart|trachea)|(?:mediastinum|trachea) is (?:shifted|deviated)|"
    r"deviat\w+ of the trachea",
    "subcutaneous emphysema": r"(?:subcutaneous|soft tissue|chest wall) (?:emphysema|air|gas)",
    "aortic aneurysm": r"(?:aortic|thoracic|aorta) (?:aneurysm\w*|dissection)|aneurysm\w*(?: dilat\w+)?|dissection|"
    r"dilat\w+(?: of)?(?: the)?(?: \w+)? aorta|aort(?:a|ic)(?: \w+)? (?:dilat\w+|is dilated)",
    "pericardial effusion": r"pericardial (?:effusion|fluid)",
    "lymphadenopathy": r"(?:lymph)?adenopathy|enlarged (?:lymph )?nodes|(?:hilar|mediastinal) (?:enlargement|"
    r"fullness|prominence)|"
    r"(?:prominen\w+|enlarged|full\w*|bulky)(?: of)?(?: the)? (?:\w+ )?hil(?:a|um|ar)\b(?: \w+)?|hil(?:a|um) (?:is|"
    r"are|appears?) (?:\w+ )?(?:enlarged|prominent|full)",
    "tuberculosis": r"tuberculosis|\btb\b|miliary|granulomatous infection",
    "aspiration": r"aspiration(?: pneumon\w+)?",
    "contusion or hemorrhage": r"contusions?|(?:pulmonary|alveolar) hemorrhage|hemorrhage",
    "lung abscess": r"abscess\w*",
    "foreign body": r"foreign bod(?:y|ies)|retained (?:sponge|needle|instrument)",
    "volume loss": r"volume loss|loss of volume",
    "interstitial lung disease": r"interstitial (?:lung )?(?:disease|fibrosis)|(?:pulmonary|lung) fibrosis|"
    r"fibrotic (?:changes?|disease)|fibrosis|honeycombing|sarcoid\w*|pneumonitis",
    "emphysema": r"emphysema\w*|copd|chronic obstructive(?: \w+){0,2} disease|bull(?:a|ae|ous)(?: disease| changes?)?|"
    r"blebs?",
    "hyperinflation": r"hyper-?(?:inflat|expan|aerat)\w+|hyperlucen\w+|"
    r"flatten\w+ (?:of )?(?:the )?(?:hemi)?diaphragms?|(?:increased|large) lung volumes|"
    r"(?:hemi)?diaphragms (?:are )?(?:\w+ )?flattened|air[- ]trapping",
    "bronchiectasis": r"bronchiecta\w+",
    "bronchial wall thickening": r"bronchial (?:wall )?(?:thickening|cuffing)|bronchitis|"
    r"reactive airways?(?: disease)?|small airways? disease|bronchiolitis",
    "blunted costophrenic angle": r"blunt\w*(?: of)?(?: the)?(?: \w+){0,3} (?:costophrenic|cp|sulc\w+|"
    r"angles?)(?: (?:angle|sulc\w+)s?)?|"
    r"(?:costophrenic|cp) (?:angle|sulc\w+|recess)s?(?: (?:is|are|appears?))?(?: \w+)? (?:blunt\w*|obscured)",
    "elevated hemidiaphragm": r"(?:elevat\w+|raised|eventration)(?: of)?(?: the)?(?: \w+)? (?:hemi)?-?diaphragms?|"
    r"(?:hemi)?-?diaphragm (?:is )?(?:\w+ )?(?:elevat\w+|raised)|eventration",
    "hiatal hernia": r"(?:hiatal|hiatus|diaphragmatic|paraesophageal|bochdalek|morgagni)? ?hernia\w*|"
    r"intrathoracic stomach|gastric pull-?(?:up|through)",
    "pulmonary hypertension": r"pulmonary (?:arterial )?hypertension|enlarg\w+ (?:of )?(?:the )?(?:central |"
    r"main )?pulmonary arter\w+|"
    r"(?:prominent|enlarged|dilated) (?:central |main )?pulmonary (?:arter\w+|trunk|vasculature(?! re))|"
    r"pulmonary arter\w+ (?:is|are) (?:\w+ )?(?:prominent|enlarged|dilated)",
    "bowel distension": r"(?:dilat\w+|distend\w+|distension of|"
    r"gaseous distension)(?: of)?(?: the)?(?: \w+){0,2} (?:bowel|colon|stomach|loops)|ileus",
    "bone lesion": r"(?:lytic|sclerotic|blastic|osseous|bony|bone)(?: \w+)? (?:lesions?|metasta\w+|destruction)|"
    r"metasta\w+ (?:to|in)(?: the)? (?:bones?|ribs?|spine)",
    "dislocation": r"(?:sub)?luxation|dislocat\w+|acromioclavicular separation",
    "granuloma": r"granulomas?|granulomatous(?: (?:disease|changes?|calcif\w+))?|"
    r"(?<!non )(?<!not )(?<!definitely )(?<!definitively )calcified (?:\w+ ){0,2}(?:nodul\w+|"
    r"granulom\w+|(?:lymph )?nodes?|densit\w+)|nodul\w+ (?:is|are|that is) calcified|"
    r"calcified hilar|(?:hilar|mediastinal|nodal) calcif\w+",
    "scar": r"scar(?:s|red|ring)?\b|fibro-?nodular (?:scarring|changes?)|(?:post-?)?(?:operative|surgical|"
    r"radiation)(?: \w+)? changes?|chronic (?:lung )?changes",
    "low lung volumes": r"(?:low|decreased|reduced|small|diminished)(?: \w+)? (?:lung )?volumes?|(?:poor|low|shallow|"
    r"decreased) inspirat\w+(?: effort)?|hypo-?(?:inflat|ventilat|aerat|expan)\w+|"
    r"lung volumes (?:are|remain) (?:\w+ )?(?:low|decreased|reduced|diminished)|crowding(?: of)?(?: the)?(?: \w+)?",
    "tortuous aorta": r"(?:tortu\w+|unfold\w+|elongat\w+|uncoil\w+|ecta\w+)(?: and \w+)?"
    r"(?: of)?(?: the)?(?: \w+){0,2} aorta|"
    r"aort(?:a|ic)(?: \w+){0,2} (?:is |are )?(?:\w+ )?(?:and \w+ )?(?:tortu\w+|unfold\w+|ecta\w+|uncoil\w+)|"
    r"tortuos\w+",
    "vascular calcification": r"(?:athero\w+|calcif\w+)(?: \w+){0,4} (?:aort\w+|arch|arter\w+|coronar\w+|"
    r"vascular)(?: \w+)?|(?:aort\w+|arch|coronary|vascular|arter\w+)(?: \w+){0,3} (?:calcif\w+|athero\w+)|"
    r"athero\w+(?: \w+)?",
    "vertebral deformity": r"(?:compression|vertebral|wedge|endplate)(?: \w+){0,2} (?:deformit\w+|wedging|collapse|"
    r"height loss)|"
    r"loss of (?:vertebral )?(?:body )?height|(?:vertebra\w*|vertebral bod\w+) (?:is|are) (?:\w+ )?(?:wedged|"
    r"compressed)",
    "lung resection": r"(?:pneumon|lob|segment)ectom\w+|wedge resection|volume reduction surgery",
    "degenerative change": r"degenerat\w+(?: \w+){0,3} changes?|degenerative|spondyl\w+|osteophyt\w+|osteoarthr\w+|"
    r"arthrit\w+|arthropath\w+|(?:disc|disk) (?:space|height)(?: \w+)? (?:narrow\w+|loss)|syndesmophytes?|"
    r"endplate changes",
    "scoliosis": r"(?:kypho)?-?scolio\w+|kypho(?:sis|tic)|dextro(?:scoliosis|curvature)|levo(?:scoliosis|curvature)|"
    r"curvature of the",
    "osteopenia": r"osteopeni\w+|osteopor\w+|deminerali\w+|bone (?:mineral )?density is (?:low|decreased)",
    "cervical rib or variant": r"cervical ribs?|azygos (?:lobe|fissure)|bifid rib|pectus \w+|nipple shadows?|"
    r"(?:prominent )?(?:epi)?(?:cardial|cardiac) fat pad",
}  # fmt: skip
"""Name -> patterns, in order of precedence."""
_MORE_WORDS = {
    "vascular congestion": r"(?:pulmonary )?(?:venous |vascular )?engorge\w+|kerley(?:[ -]?b)?(?: lines?)?|"
    r"septal (?:lines|thickening)|"
    r"(?:indistinct|ill-?defined|blurred|hazy)(?: pulmonary)? (?:vess\w+|vascul\w+|markings)|"
    r"(?:bronchovascular|pulmonary vascular|vascular) markings are (?:\w+ )?(?:prominent|increased|indistinct)",
    "lung opacity": r"white-?out|(?:hemithorax|lung) (?:is |remains )?(?:\w+ )?opacified|"
    r"opacified (?:\w+ )?(?:hemithorax|lung)",
}  # fmt: skip
"""Words that the labeler does not read, for names of its findings."""
_TABLE = (*_MORE_WORDS.items(), *OTHERS.items())
_ALTERNATIVES = "|".join(f"(?P<o{number}>{words})" for number, (_, words) in enumerate(_TABLE))
_OTHER = re.compile(rf"(?<![\w-])(?:{_ALTERNATIVES})(?!\w)")
_NAMES = {f"o{number}": name for number, (name, _) in enumerate(_TABLE)}
_REPLACES_FINDING = frozenset({"granuloma", "bone lesion", "bronchial wall thickening", "lymphadenopathy"})


def find_others(text: str) -> list[tuple[int, int, str, bool]]:
    """Start, end and name of each abnormality, and whether it replaces a finding that the labeler reads there."""
    found = ((match.start(), match.end(), _NAMES[match.lastgroup]) for match in _OTHER.finditer(text))
    return [(start, end, name, name in _REPLACES_FINDING) for start, end, name in found]
