"""Words that tell what is a personal name in a report and what is not: tables for `data.identity_names`.

No table knows all names. These know where reports put them, some hundred common names that are no other word of a
report, and the words that are capitalised where a name could stand.
"""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NOT_NAMES = _words(
    "a abdomen abnormal about above acc accession acute addendum after again all am an and angiography any ap "
    "apical approved are as at attached attending audible axial back basilar be been before below bilateral bone "
    "bones both brain but by call called cardiac chest clear clinic clinical compared comparison conclusion "
    "consultant contrast cough ct cxr date department dictated did digital discussed do dob doctor does dr drs "
    "dyspnea ed electronically emergency end er exam examination fax fellow female fever film final findings floor "
    "follow for from has have he head heart her hilar his history hospital however icu id if image images imaging "
    "impression in indication infiltrate interval is it its large lateral left line lower lung lungs male man may "
    "md medical medicine mild miss moderate mr mri mrn mrs ms mx name new no none normal notified nurse of office "
    "on or other our pa page paged pager pain patient pelvis pending per phone physician please pleural portable "
    "possible practitioner primary prior prof professor pt pulmonary radiograph radiologist radiology read received "
    "recommend regarding registrar report resident results reviewed rib ribs right rn room see service she "
    "shortness signed sister small spine ssn stable staff study supine surgery surgical taken team technique "
    "technologist tel telephone that the their then there these they this time to transcribed trauma tube two unit "
    "unknown unremarkable upper upright verbally via view views was we were when which who will with woman x-ray "
    "xray you "
)
"""Never part of a name, in any case."""

COMMON_NAMES = _words(
    "aaron abigail adam ahmed aiko aisha akira alan albert alejandro alexander alexandra alfred ali alice alicia "
    "alison amanda amber amelia amina amy ana andrea andrew angela anil anita anjali anna anne annette anthony "
    "antonio arthur ashley barbara beatrice benjamin bernard beth betty beverly bob bogdan bonnie brandon brenda "
    "brian bruce carl carla carlos carmen carol carolyn catherine charles charlotte chen cheryl chloe christina "
    "christine christopher cindy claire cynthia daniel daniela david deborah debra deepak denise dennis derek "
    "diana diane diego dieter dmitri doe dolores donald donna doris dorothy douglas edith eduardo edward eileen "
    "elaine eleanor elena elizabeth ella ellen emily emma eric erica erik ernest esther ethan eugene eva evelyn "
    "fatima fatma felicia fernando fiona frances francesca francisco frederick garcia gary geoffrey george gerald "
    "giovanni giulia gladys gloria gonzalez gregory gustavo hannah hans harold harry hassan heather hector heidi "
    "helen helga henry herbert hernandez hiroshi howard hugo hussein ibrahim igor ingrid irene isaac isabel "
    "isabella ivan jacob jacqueline jake james jamie jane janet janice jason javier jeffrey jennifer jeremy jerry "
    "jessica jill joan joanna joe joel johannes john johnny johnson jonathan jones jorge jose joseph joshua joyce "
    "juan juanita judith judy julia julian julie jurgen jürgen karen karl katherine kathleen kathryn katie keith "
    "kelly kenji kenneth kevin khalid kimberly krzysztof kumar kyle lakshmi larry laura lauren lawrence leila "
    "leonard li liam linda lisa lois lorraine luca lucas lucia lucy luis luke lynn malik manuel marcus margaret "
    "maria mariam marilyn marjorie martha martinez mary matteo matthew maureen megan mehmet mei melissa michael "
    "michelle miguel mildred mohamed mohammad mohammed monica muhammad nancy natalia natalie natasha nathan nguyen "
    "nicholas nicole nina noah nora norma olena olga oliver olivia omar oscar pablo pamela patel patricia patrick "
    "paula pedro peggy peter philip phillip phyllis pierre priya rachel rafael raj rajesh ralph ramon ravi raymond "
    "rebecca ricardo richard rita robert roberto robin rodriguez roger ronald rosa rosemary roy russell ruth ryan "
    "sally samantha samuel sandra sanjay sara sarah sean sergei sergio sharon shirley singh smith sofia sophia "
    "sophie stefan stella stephanie stephen steven stuart sunita susan suzanne svetlana sylvia tamara tanya teresa "
    "theresa thomas tiffany timothy tina todd tomasz tracy tyler ursula valerie vanessa veronica vicki victor "
    "victoria vijay vincent vladimir walter wanda wayne wei wendy wilhelm william xiao yolanda yuki yusuf yvonne "
    "zachary zainab zoe "
)

ORDINARY_SURNAMES = _words(
    "able an angel april art ball banks base be bell best bill bishop black blood bone brooks brown burns bush case "
    "center chase chest christian church clear cope cross curry day de dean do down drew early east fall field "
    "fields fine foot frank free frost full gene gold good grace grant gray green grey hand hart he head heart high "
    "hill hope in joy june king knight la land large late le left light line lines little long love low lung major "
    "march mark marked marks may middleton mild minor moody moon new no noble noon north old on page park pink pope "
    "power price ray read reed rich right rivers rose said see seen sharp shaw short sides silver small snow so "
    "south star stone stones strong summers sun temple to van view wall ward waters wells west white will winter "
    "wise wood woods young "
)
"""Also words of a report: in text they are a name only beside another part of it, or behind a title."""

TITLES = (
    r"Drs?\b\.?|DRS?\b\.?|Doctors?\b|Mr\b\.?|MR\.|Mrs\b\.?|MRS\b\.?|Ms\b\.?|Miss\b|Mx\b\.?|Prof\b\.?|PROF\b\.?",
    r"Professor\b|Nurse\b|Sister\b|Sir\b|Madam\b|Master\b|Rev\.|Sgt\b\.?|Capt\b\.?",
)
"""In the case in which they are no other word: MR alone is magnetic resonance, MS multiple sclerosis."""
LOWER_TITLES = (r"(?:drs?|mrs?|ms|prof)\.|(?:dr|doctor|mrs|professor)\b",)

LABELS = (
    r"(?:patient|pt|client|subject)(?:'s)? ?names?|(?:full|last|first|middle|maiden|family|given|sur)[ -]?names?|"
    r"names?",
    r"author",
    r"(?:referring|ordering|requesting|attending|primary|admitting|reporting|interpreting|reading|supervising|family|"
    r"responsible|treating|consulting) (?:physician|doctor|dr|md|provider|clinician|practitioner|radiologist)",
    r"radiologist|resident|physician|provider|consultant|clinician|fellow|technologist|technician|radiographer|"
    r"attending",
    r"transcriptionist|typist|signature|signed|requested by|requester|next of kin|guardian",
)
"""What stands before a colon and a name."""
PATIENT_LABELS = (r"patient|pt",)
"""The same, but "Patient: rotated" is as common: only what looks like a name is one."""

DEEDS = (
    r"(?:dictated|signed|transcribed|approved|reported|read|reviewed|verified|interpreted|finalized|authenticated|"
    r"performed|requested|ordered|referred|typed|prepared|attested|supervised|seen|co-?signed|edited)"
    r"(?: (?:and \w+|electronically))? by",
    r"(?:discussed|reviewed|spoke|spoken|conferred) with|d/w|notified|informed|paged|alerted",
    r"(?:communicated|reported|relayed|conveyed|telephoned|called|phoned|given|paged|sent|faxed)(?: \w+){0,2}? to",
    r"(?:wife|husband|son|daughter|mother|father|sister|brother)(?:,| named)?|named|known as|on behalf of|"
    r"under the care of",
)
"""After these, a capitalised word that is none of NOT_NAMES is a name."""

DEGREES = (
    r"M\.?D|Ph\.?D|R\.?N|M\.?B\.?B\.?S|M\.?B\.?Ch\.?B|F\.?R\.?C\.?R|F\.?R\.?C\.?P\.?C?|F\.?A\.?C\.?R|D\.O",
    r"DNP|APRN|CRNA|BSN|NP|PA-C|RPA|ARNP|R\.?T\.?\(?R\)?",
)
"""Behind a name, with or without a comma."""
