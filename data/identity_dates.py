"""Dates, times of day and ages over 89 in report text, as regular expressions matched in any case.

What `keep` matches stays, the rest of a match is the identity. A year alone is none, as in HIPAA's list. The numbers of
medicine are left alone: "T8", "C7-T1", "5-6 mm", "2/3 of the height", "grade 3/4", "10/12 ribs".
"""

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
_SAYS_DATE = r"(?:on|dated?|from|since|until|through|taken|performed|obtained|compared (?:to|with)|study of|exam of)"

DATES = (
    rf"(?<![\w./]){_YEAR}[-/.]{_MONTH_NUMBER}[-/.]{_DAY}(?:T[\d:.]+Z?)?(?![\w/-])",
    rf"(?<!\w){_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?!\w)",
    rf"(?<![\w./-]){_NUMERIC_DAY}(?:[-/.]{_YEAR}|[/-]\d\d)(?![\w/]|\.\d){_NO_UNIT}",
    r"(?<![\w./-])\d\d\.\d\d\.\d\d(?![\w.])",
    rf"(?<![\w./-]){_MONTH_NUMBER}/{_YEAR}(?!\w)",
    rf"(?<![\w./]){_DAY}(?:st|nd|rd|th)?[ -]*(?:day )?(?:of )?{_MONTH}(?:,?[ -]*(?:of )?(?:{_YEAR}|"
    rf"['’]?\d\d)(?![\w:]))?",
    rf"(?<![\w-]){_YEAR}[ -]{_MONTH}[ -]{_DAY}(?!\w)",
    rf"(?<![\w-]){_MONTH}[ -]*(?:the )?{_DAY}(?:st|nd|rd|th)?(?![\w:/]|\.\d){_NO_UNIT}"
    rf"(?:,?[ -]*(?:{_YEAR}|'\d\d)(?!\w))?",
    rf"(?<![\w-]){_MONTH},?[ -]*(?:of )?(?:{_YEAR}|['’]\d\d)(?!\w)",
    rf"(?P<keep>\b(?:in|since|from|last|until|by|early|late|mid|during|previous|this)[ -]){_UNMISTAKABLE_MONTH}(?!\w)",
    rf"(?P<keep>\b{_SAYS_DATE},? )(?:{_MONTH_NUMBER}/{_DAY}|{_DAY}/{_MONTH_NUMBER})(?![\w/]|\.\d){_NO_SHARE}",
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

_OLD = r"(?:9\d|1[0-2]\d)"

AGES = (
    rf"(?<![\w.]){_OLD}(?=[ -]?(?:years?|yrs?)[ -]?(?:old|of age)|[ -]?y[./ ]?o\b|[ -]?yo[mf]\b)",
    rf"(?P<keep>\b(?:aged?|age of)[ :]+){_OLD}(?![\w%.])|(?<![\w.]){_OLD}(?=y?[ -]?[mf] (?:with|w/|s/p|presents))",
    r"\bninety(?:[ -](?:one|two|three|four|five|six|seven|eight|nine))?(?=[ -]years?[ -]old)",
    r"\b(?:nonagenarian|centenarian)",
)
