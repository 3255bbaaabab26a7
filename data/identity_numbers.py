"""Telephone and record numbers, addresses, e-mail and the like in report text, as regular expressions.

What `keep` matches stays, the rest of a match is the identity. A number without a label is one from 6 digits on:
no measurement has as many.
"""

_RECORD = (
    r"(?:mrn?|medical record|med(?:ical)? rec|record|patient|pt|hospital(?: unit)?|chart|acc(?:ession)?|account|"
    r"acct|visit|"
    r"encounter|case|study|exam|order|request|requisition|job|report|document|specimen|ssn|social security|nhs|"
    r"insurance|policy|medicare|medicaid|member|licen[sc]e|npi|serial|device|confirmation)"
)
_NUMBER = r"(?:numbers?|no\b\.?|nr\b\.?|num\b\.?|id(?:entifier|entification)?\b\.?|#)"
_VALUE = r"(?:[A-Z]{0,6}[-/ ]?\d[\w/.-]{0,30}\w|\d)"

RECORDS = (
    rf"(?P<keep>\b(?i:{_RECORD} ?{_NUMBER}[ .:#=]*(?:is )?)){_VALUE}",
    rf"(?P<keep>\b(?i:mrn|ssn|csn|acc(?:ession)?|acct|npi|nhs|id)(?i:(?:[ .]?[:#=]+ ?|[ ]+)(?:is )?)){_VALUE}",
    r"(?<!\w)(?:\d{3}|[Xx*]{3})-(?:\d\d|[Xx*]{2})-\d{4}(?!\w)",
    r"(?<![\w.])(?:[A-Za-z]{1,4}-?)?\d{6,}(?:-\d+)?(?!\w)(?!\.\d)|(?<!\w)[A-Z]{1,4}-?\d{2,4}-\d{4,}(?!\w)",
    r"(?<![\w.])\d+(?:\.\d+){3,20}(?!\w)",
    r"(?P<keep>\b(?i:room|rm|bed)[ .:#]+)(?=[\w-]{0,8}\d)[\w-]{1,12}",
)

PHONES = (
    r"(?<![\w.])(?:\+?\d{1,3}[ .-]?)?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}(?:,? ?(?:x|ext\.?) ?\d+)?(?!\w)",
    r"(?<!\w)\+\d[\d ().-]{6,16}\d(?!\w)|(?<![\w.])\d{3}-\d{4}(?!\w)",
    r"(?<![\w.])(?:\(0\d{2,4}\)|0\d{2,4}) \d{3,4} ?\d{3,4}(?!\w)",
    r"(?P<keep>\b(?i:(?:tele)?(?:phone|fax)|tel|pager|paged?|beeper|bleep|ext(?:ension)?|mobile|cell|callback|call)"
    r"(?i: (?:number|no|at|on))?[ .:#]*)(?:\d[\d -]{2,14}\d|\(\d{3}\)[\d -]{3,14}\d)(?!\w)",
)

EMAILS = (r"(?<![\w.+-])[\w.+-]{1,64} ?@ ?[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}",)
URLS = (
    r"(?i:(?:https?|ftp)://\S+|\bwww\.\S+\w)|(?<![\w.-])[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){0,3}\.(?:com|org|net|edu|"
    r"gov)\b(?:/\S*)?",
)

_STREET = (
    r"(?:(?i:street|avenue|road|boulevard|lane|drive|court|parkway|terrace|highway|crescent|square)|"
    r"(?:St|Ave|Rd|Blvd|Ln|Dr|Ct|Pl|Pkwy|Hwy|ST|AVE|RD|BLVD|LN|HWY)\.?)(?![\w])"
)
_TOWN = r"[A-Z][\w.'-]{1,30}(?: [A-Z][\w.'-]{1,30}){0,2}"
_STATE = r"[A-Z]{2},? \d{5}(?:-\d{4})?(?!\w)"

ADDRESSES = (
    rf"(?<![\w.])\d{{1,5}}[A-Za-z]? (?:[NSEW]\.? )?(?:[A-Z0-9][\w'-]{{0,30}} ){{1,4}}{_STREET}"
    rf"(?:,? ?(?:[Aa]pt|[Ss]uite|[Uu]nit|#)\.? ?\w+)?(?:,? *{_TOWN},? {_STATE})?",
    rf"(?<![\w.-]){_TOWN}, {_STATE}|(?i:\bP\.?\s?O\.? ?Box \d+)",
    r"(?<![\w-])(?!\w+ \d(?:CM|MM|CC|ML|FR|MG))[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}(?!\w)",
    rf"(?P<keep>\b(?i:address|lives at|resides at|residing at|home address)[ :]+)\d+ {_TOWN}",
    r"(?P<keep>\b(?i:zip)(?i: code)?:? )\d{5}(?:-\d{4})?(?!\w)",
)
_PLACE_WORD = (
    r"(?!(?i:the|this|our|an?|at|from|outside|prior|local|same|in|to|of|community|general|other|another|referring|"
    r"regional|"
    r"day|for|and|with)\b)[A-Z][\w.'’&-]{0,30}"
)
HOSPITALS = (
    rf"(?<![\w.-]){_PLACE_WORD}(?: (?:of |and |& |the )?{_PLACE_WORD}){{0,4}}"
    r"(?= (?:(?:General|Regional|Community|Memorial|University|Children's|County|District) ){0,2}"
    r"(?:Hospitals?|Medical Cent(?:er|re)|Clinic|Infirmary|Health(?:care)? System|Nursing Home|Hospice|HOSPITAL|"
    r"MEDICAL CENTER|CLINIC)\b)",
)
