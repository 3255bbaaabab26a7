"""Regular expressions and word lists that recognize identities in report text, for `data.reports.deidentify`.

The group `keep` stays; the rest of a match is the identity.

- Dates, times and ages match any case. A year alone is not an identity, as in HIPAA's list. Medical numbers are kept:
  "T8", "C7-T1", "5-6 mm", "2/3 of the height", "grade 3/4", "10/12 ribs".
- A number without a label is a record number from 6 digits on: no measurement has as many.
- No list has all names. These tables know where names occur in reports, some hundred common names that are not other
  words of reports, and the words that are capitalized where a name could be."""

_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|"
    r"nov(?:ember)?|dec(?:ember)?)(?![a-z])\.?"
)
_UNMISTAKABLE_MONTH = (
    r"(?:january|february|april|june|july|august|september|october|november|december|(?-i:March|MARCH|May))"
)
_DAY, _MONTH_NUMBER, _YEAR = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:0?[1-9]|1[0-2])", r"(?:19|20)\d\d"
_NUMERIC_DAY = rf"(?:{_MONTH_NUMBER}[-/.]{_DAY}|{_DAY}[-/.]{_MONTH_NUMBER})"
_NO_UNIT = r"(?! ?-?(?:[mc]m|cc|ml|kg|mg|fr|french|weeks?|days?|months?|years?|hours?|%)(?!\w))"
_NO_SHARE = r"(?! ?(?:of|the|ribs?|th|[mc]m|height|way|thirds?|vertebra\w*|lobes?|views?|leads?|pain)\b)"
_SAYS_DATE = (
    r"(?:on|dated?|from|since|until|through|taken|performed|obtained|compared (?:to|with)|study of|exam of|"
    r"admitted|discharged|dob)"
)

_MONTH_ALONE = (
    rf"(?P<keep>\b(?:in|since|from|last|until|by|early|late|mid|during|previous|this)[ -]){_UNMISTAKABLE_MONTH}(?!\w)"
)
_DAY_OF_WEEK = r"\b(?:mon|tues|wednes|thurs|fri|satur|sun)day,? (?:the )?___"

DATES = (
    rf"(?<![\w./]){_YEAR}[-/.]{_MONTH_NUMBER}[-/.]{_DAY}(?:T[\d:.]+Z?)?(?![\w/-])",
    rf"(?<!\w){_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?!\w)",
    rf"(?<![\w./-]){_NUMERIC_DAY}(?:[-/.]{_YEAR}|[/-]\d\d)(?![\w/]|\.\d){_NO_UNIT}",
    r"(?<![\w./-])\d\d\.\d\d\.\d\d(?![\w.])",
    rf"(?<![\w./-]){_MONTH_NUMBER}/{_YEAR}(?!\w)",
    rf"(?<![\w./]){_DAY}(?:st|nd|rd|th)?[ -]*(?:day )?(?:of )?{_MONTH}(?:,?[ -]*(?:of )?(?:{_YEAR}|"
    rf"['’]?\d\d)(?![\w:]))?",
    rf"(?<![\w-]){_YEAR}[ -]{_MONTH}[ -]{_DAY}(?!\w)",
    rf"(?<![\w./-])(?:{_MONTH_NUMBER} {_DAY}|{_DAY} {_MONTH_NUMBER}) {_YEAR}(?![\w/]){_NO_UNIT}",
    rf"(?<![\w./-]){_DAY} / {_DAY} / (?:{_YEAR}|\d\d)(?![\w/])",
    rf"(?<![\w-]){_MONTH}[ -]*(?:the )?{_DAY}(?:st|nd|rd|th)?(?![\w:/]|\.\d){_NO_UNIT}"
    rf"(?:,?[ -]*(?:{_YEAR}|'\d\d)(?!\w))?",
    rf"(?<![\w-]){_MONTH},?[ -]*(?:of )?(?:{_YEAR}|['’]\d\d)(?!\w)",
    _MONTH_ALONE,
    rf"(?P<keep>\b{_SAYS_DATE},? )(?:{_MONTH_NUMBER}/{_DAY}|{_DAY}/{_MONTH_NUMBER})(?![\w/]|\.\d){_NO_SHARE}",
    _DAY_OF_WEEK,
)

_CLOCK = r"(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d+)?)?"
_MILITARY = r"(?:[01]\d|2[0-3])[0-5]\d"
_HOURS = r" ?(?:hours|hrs|hr|h)\b"

TIMES = (
    rf"(?<![\w.:])(?<!ratio )(?<!ratio of ){_CLOCK}(?: ?(?:[ap]\.?m\b\.?|[ap]\b)|{_HOURS})?(?![\w:])"
    r"(?: ?(?:EST|EDT|CST|CDT|MST|PST|PDT|UTC|GMT)\b)?",
    r"(?<![\w.:/])(?:0?[1-9]|1[0-2]) ?(?:am\b|pm\b|a\.m\.?|p\.m\.?)",
    rf"(?P<keep>(?:\bat|@) ?){_MILITARY}(?:{_HOURS}|(?= ?(?:on|by|to|with)\b| *[.,;)\n]| *$))",
    rf"(?<![\w.]){_MILITARY}{_HOURS}",
)

_AGES_IN_WORDS = (
    r"\bninety(?:[ -](?:one|two|three|four|five|six|seven|eight|nine))?(?=[ -]years?[ -]old)",
    r"(?P<keep>\baged? )ninety(?:[ -](?:one|two|three|four|five|six|seven|eight|nine))?(?! ?(?:percent|%))",
    r"\b(?:nonagenarian|centenarian)",
)
_OLD = r"(?:9\d|1[0-2]\d)"

AGES = (
    rf"(?<![\w.]){_OLD}(?=[ -]?(?:years?|yrs?)[ -]?(?:old|of age)|[ -]?y[./ ]?o\b|[ -]?yo[mf]\b)",
    rf"(?P<keep>\b(?:aged?|age of)[ :]+){_OLD}(?![\w%.])|(?<![\w.]){_OLD}(?=y?[ -]?[mf] (?:with|w/|s/p|presents))",
    *_AGES_IN_WORDS,
)

_RECORD = (
    r"(?:mrn?|medical record|med(?:ical)? rec|record|patient|pt|hospital(?: unit)?|chart|acc(?:ession)?|account|acct|"
    r"visit|encounter|case|study|exam|order|request|requisition|job|report|document|specimen|ssn|social security|nhs|"
    r"insurance|policy|medicare|medicaid|member|licen[sc]e|npi|serial|device|confirmation)"
)
_NUMBER = r"(?:numbers?|no\b\.?|nr\b\.?|num\b\.?|id(?:entifier|entification)?\b\.?|#)"
_VALUE = (
    r"(?:\d{2,4}(?:[ -]\d{2,4}){1,4}(?!\w)|[A-Z]{1,3}-?\d{2,5}[ -]\d{3,6}(?:-\d+)?(?!\w)|"
    r"[A-Z]{0,6}[-/ ]?\d[\w/.-]{0,30}\w|\d)"
)

RECORDS = (
    rf"(?P<keep>\b(?i:{_RECORD} ?{_NUMBER}[ .:#=]*(?:is )?)){_VALUE}",
    rf"(?P<keep>\b(?i:mrn|ssn|csn|acc(?:ession)?|acct|npi|nhs|id)(?i:(?:[ .]?[:#=]+ ?|[ ]+)(?:is )?)){_VALUE}",
    r"(?<!\w)(?:\d{3}|[Xx*]{3})-(?:\d\d|[Xx*]{2})-\d{4}(?!\w)",
    r"(?<![\w.])(?:[A-Za-z]{1,4}-?)?\d{6,}(?:-\d+)?(?!\w)(?!\.\d)|(?<!\w)[A-Z]{1,4}-?\d{2,4}-\d{4,}(?:-\d+)?(?!\w)",
    r"(?<![\w.])\d+(?:\.\d+){3,20}(?!\w)",
    rf"(?P<keep>\b(?i:(?:driver'?s? )?licen[sc]e|passport)[ .:#]*)(?=[A-Z-]{{0,4}}\d){_VALUE}",
    r"(?P<keep>\b(?i:(?:licen[sc]e|number|"
    r"registration) plates?)[ .:#]*)(?=[A-Z -]{0,8}\d)[A-Z\d]{1,4}"
    r"(?:[ -][A-Z\d]{1,4}){0,3}",
    r"(?P<keep>\b(?i:ward|unit|floor) )\d{1,2}[ -]?(?:North|South|East|West|[A-D])(?!\w)",
    r"(?P<keep>\b(?i:room|rm|bed)[ .:#]+)(?=[\w-]{0,8}\d)[\w-]{1,12}",
)

PHONES = (
    r"(?<![\w.])(?:\+?\d{1,3}[ .-]?)?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}(?:,? ?(?:x|ext\.?) ?\d+)?(?!\w)",
    r"(?<!\w)(?<!\d )x ?\d{4,5}(?!\w|\.\d)",
    r"(?<!\w)\+\d[\d ().-]{6,16}\d(?!\w)|(?<![\w.])\d{3}-\d{4}(?!\w)",
    r"(?<![\w.])(?:\(0\d{2,4}\)|0\d{2,4}) \d{3,4} ?\d{3,4}(?!\w)",
    r"(?P<keep>\b(?i:(?:tele)?(?:phone|fax)|tel|pager|paged?|beeper|bleep|ext(?:ension)?|mobile|cell|callback|call)"
    r"(?i: (?:number|no|at|on))?[ .:#]*)(?:\d[\d -]{2,14}\d|\(\d{3}\)[\d -]{3,14}\d)(?!\w)",
)

EMAILS = (
    r"(?<![\w.+-])[\w.+-]{1,64} ?(?:\(at\)|\[at\]|(?<= )at(?= )) ?[\w-]{1,63} ?(?:\(dot\)|\[dot\]|(?<= )dot(?= )) ?"
    r"[A-Za-z]{2,6}(?!\w)",
    r"(?<![\w.])@[A-Za-z_]\w{2,30}",
    r"(?<![\w.+-])[\w.+-]{1,64} ?@ ?[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}",
)
URLS = (
    r"(?i:(?:https?|ftp)://\S+|\bwww\.\S+\w)|(?<![\w.-])[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){0,3}\.(?:com|org|net|edu|"
    r"gov)\b(?:/\S*)?",
)

_STREET = (
    r"(?:(?i:street|avenue|road|boulevard|lane|drive|court|parkway|terrace|highway|crescent|square)|"
    r"(?:St|Ave|Rd|Blvd|Ln|Dr|Ct|Pl|Pkwy|Hwy|ST|AVE|RD|BLVD|LN|HWY)\.?)(?![\w])"
)
_CAPITAL = r"[A-ZÀ-ÖØ-ÞĆČĎĐĘĚŁŃŇŐŘŚŞŠŤŮŰŹŻŽ]"
_TOWN = rf"{_CAPITAL}[\w.'-]{{1,30}}(?: {_CAPITAL}[\w.'-]{{1,30}}){{0,2}}"
_STATE = r"[A-Z]{2},? \d{5}(?:-\d{4})?(?!\w)"

_COUNTY = rf"(?P<keep>\bCounty of ){_CAPITAL}\w+"

ADDRESSES = (
    rf"(?<![\w.])\d{{1,5}}[A-Za-z]? (?:[NSEW]\.? )?(?:(?:{_CAPITAL}|\d)[\w'-]{{0,30}} ){{1,4}}{_STREET}"
    rf"(?:,? ?(?:[Aa]pt|[Ss]uite|[Uu]nit|#)\.? ?\w+)?(?:,? *{_TOWN},? {_STATE})?",
    r"(?<![\w.])\d{1,5} (?:(?!of|the|to|in|on|and|or|with)[a-z][\w'-]{1,30} ){1,3}(?:street|avenue|road|boulevard|"
    r"lane|drive|court|parkway|terrace|highway)(?!\w)(?:,? (?:apt|suite|unit)\.? ?\w+)?",
    _COUNTY,
    rf"(?<![\w.-]){_TOWN}, {_STATE}|(?i:\bP\.?\s?O\.? ?Box \d+)",
    r"(?<![\w-])(?!\w+ \d(?:CM|MM|CC|ML|FR|MG))[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}(?!\w)",
    rf"(?P<keep>\b(?i:address|lives at|resides at|residing at|home address)[ :]+)\d+ {_TOWN}",
    r"(?P<keep>\b(?i:zip)(?i: code)?:? )\d{5}(?:-\d{4})?(?!\w)",
)
WITHOUT_DIGIT = (_MONTH_ALONE, _DAY_OF_WEEK, *_AGES_IN_WORDS, _COUNTY)
"""All other patterns of ADDRESSES, PHONES, DATES, RECORDS, TIMES and AGES match only text with a digit."""

_PLACE_WORD = (
    r"(?!(?i:the|this|our|an?|at|from|outside|prior|local|same|in|to|of|community|general|other|another|referring|"
    r"regional|day|for|and|with)\b)[A-Z][\w.'’&-]{0,30}"
)
HOSPITALS = (
    rf"(?P<keep>\b(?i:at|from|to|in) )(?:St\b\.?|Saint) (?!Jude){_CAPITAL}[\w’'-]{{1,30}}(?! (?:valve|catheter))",
    rf"(?<![\w.-]){_PLACE_WORD}(?: (?:of |and |& |the )?{_PLACE_WORD}){{0,4}}"
    r"(?= (?:(?:General|Regional|Community|Memorial|University|Children's|County|District) ){0,2}"
    r"(?:Hospitals?|Medical Cent(?:er|re)|Med(?:\.|ical)? C(?:tr|en)\b\.?|Hosp\b|Clinic|Infirmary|"
    r"Health(?:care)? System|Nursing Home|Hospice|HOSPITAL|"
    r"MEDICAL CENTER|CLINIC)\b)",
)


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
    "unknown unremarkable upper upright verbally via view views was we were when which who with woman x-ray "
    "xray you "
)
"""Words that are never part of a name; case is ignored."""

COMMON_NAMES = _words(
    "layla agnieszka soren siobhan minh ewa olumide nasreen fatou noor ayse elif emre bilal tariq imran arjun "
    "kavya sakura haruto jin-woo ji-woo min-jun seo-yeon thanh linh tuan mateo santiago camila valentina "
    "lorenzo chiara lars astrid bjorn sven freya piotr katarzyna malgorzata wojciech tatiana irina mihai ioana "
    "kwame amara chidi ngozi femi tunde zanele thabo sipho brigitte colette gaston odile "
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
"""Names that are also words of reports: in text they are a name only next to another part of it, or after a title."""

TITLES = (
    r"Drs?\b\.?|DRS?\b\.?|Doctors?\b|Mr\b\.?|MR\.|Mrs\b\.?|MRS\b\.?|Ms\b\.?|Miss\b|Mx\b\.?|Prof\b\.?|PROF\b\.?",
    r"(?:RN|LPN|CRNP|CNA)\b|(?:(?:[Cc]harge|[Ss]taff|[Tt]riage) )?nurse\b",
    r"Professor\b|Nurse\b|Sister\b|Sir\b|Madam\b|Master\b|Rev\.|Sgt\b\.?|Capt\b\.?",
)
"""Titles with the spellings that are not another word: MR alone is magnetic resonance, MS is multiple sclerosis."""
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
"""Labels before a colon and a name."""
PATIENT_LABELS = (r"patient|pt",)
"""The same, but "Patient: rotated" is as common, so only text that looks like a name is one."""

DEEDS = (
    r"(?:dictated|signed|transcribed|approved|reported|read|reviewed|verified|interpreted|finalized|authenticated|"
    r"performed|requested|ordered|referred|typed|prepared|attested|supervised|seen|co-?signed|edited)"
    r"(?: (?:and \w+|electronically))? by",
    r"(?:spoke|spoken|talked) to|message (?:was )?left (?:for|with)|consent (?:from|of|by)|"
    r"thank you for (?:referring|sending)(?: me| us)?",
    r"(?:discussed|reviewed|spoke|spoken|conferred) with|d/w|notified|informed|paged|alerted",
    r"(?:communicated|reported|relayed|conveyed|telephoned|called|phoned|given|paged|sent|faxed)(?: \w+){0,2}? to",
    r"(?:wife|husband|son|daughter|mother|father|sister|brother)(?:,| named)?|named|known as|on behalf of|"
    r"under the care of",
)
"""After these, a capitalized word that is not in NOT_NAMES is a name."""

ROLES = (
    r"(?:(?:[Ss]taff|[Cc]hief|[Ss]enior|[Jj]unior) )?(?:[Rr]adiologist|[Aa]ttending|[Rr]esident|[Ff]ellow|"
    r"[Tt]echnologist|[Pp]hysician|[Cc]onsultant|[Cc]linician|[Hh]ospitalist|[Pp]ulmonologist|[Cc]ardiologist|"
    r"[Oo]ncologist|[Ss]urgeon)",
)
"""Before a name without a colon."""

DEGREES = (
    r"M\.?D|Ph\.?D|R\.?N|M\.?B\.?B\.?S|M\.?B\.?Ch\.?B|F\.?R\.?C\.?R|F\.?R\.?C\.?P\.?C?|F\.?A\.?C\.?R|D\.O",
    r"DNP|APRN|CRNA|BSN|NP|PA-C|RPA|ARNP|R\.?T\.?\(?R\)?",
)
"""Degrees after a name, with or without a comma."""
