"""Attributes of a mention: side, zone of the lung, severity, size, number and change since a prior study.

`mention_windows` gives each mention of a sentence the words that belong to it, and `read_attributes` reads them:
"small right and moderate left effusions" gives two sets of attributes, because each side has its own severity. The
texts are in lower case with single spaces, as `parser.as_read` returns them."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

_BOTH = (
    r"\bbilateral(?:ly)?\b|\bboth (?:lung|base|side|hemi|lower|upper|mid|ap|costo|pleura|hil)|"
    r"\bbi(?:basilar|basal|apical)\b|"
    r"\b(?:lung|the) bases\b|\bright (?:and|or|greater than|more than|>) left\b|"
    r"\bleft (?:and|or|greater than|more than|>) right\b"
)
_SIDES = {
    "left": re.compile(rf"\bleft(?:ward)?\b|\blingula|\b(?:lul|lll)\b|{_BOTH}"),
    "right": re.compile(rf"\bright(?:ward)?\b|\bmiddle lobe|\b(?:rul|rml|rll)\b|{_BOTH}"),
}
_NOT_SIDES = re.compile(
    r"\b(?:left|right)(?:-sided)? (?:ventric\w+|atri\w+|heart|cardiac|paratracheal|aortic|main (?:pulmonary|stem))\b|"
    r"\bright (?:clinical|setting|context|circumstances?)\b"
)
"""In words of structures, and in "the right clinical setting", left and right name no side of a finding."""
_BEHIND_HEART = re.compile(r"\bretro-?cardiac\b")
"""Most often the left lower lobe, so it is read as left unless a side is named."""
_ZONES = {
    "upper": re.compile(r"\bupper\b|\bap(?:ex|ices|ical)\b|\bbiapical\b|\bsuprahilar\b|\b[rl]ul\b"),
    "middle": re.compile(
        r"\bmid(?:dle|lung)?\b|\blingula\w*|\b(?:peri|para)-?hilar\b|\bhil(?:ar|um|a)\b|\brml\b|\bcentral\b"
    ),
    "lower": re.compile(
        r"\blower\b|\bbas(?:es?|al|ilar)\b|\bbibas(?:al|ilar)\b|\binfrahilar\b|\bretro-?cardiac\b|\b[rl]ll\b|"
        r"\bcostophrenic\b|\bdependent\b"
    ),
}
_EVERYWHERE = re.compile(r"\b(?:diffuse(?:ly)?|multifocal|widespread|throughout|extensive)\b")

_OF_CHANGE = (
    r"(?! (?:interval(?:ly)? |overall )?(?:increas|decreas|improve|worse|progress|larger|smaller|more|less|change|"
    r"different|rotat|limited|better|resol|lower|higher|degree of (?:improve|worse)))"
)
_DEGREES = (
    (0.75, re.compile(rf"\b(?:trace|tiny|minute|minuscule|very small|very mild)\b{_OF_CHANGE}")),
    (1.5, re.compile(r"\b(?:small|mild|mildly)(?:[ -](?:to|or)[ -]| ?/ ?)(?:moderate\w*|medium)\b")),
    (2.5, re.compile(
        r"\bmoderate(?:ly)?(?:[ -](?:to|or)[ -]| ?/ ?)(?:severe\w*|large|marked\w*)\b|\bmoderately (?:large|severe)\b"
    )),
    (3.0, re.compile(
        rf"\b(?:large|severe(?:ly)?|massive(?:ly)?|marked(?:ly)?|extensive(?:ly)?|huge|substantial|considerabl[ey]|"
        rf"gross(?:ly(?! (?:unchanged|stable|similar|clear|normal|intact|unremarkable)))?|"
        rf"florid|tension|complete|near[ -]complete|white-?out|total|high-?grade|"
        rf"sizable|sizeable|overt|frank)\b{_OF_CHANGE}"
    )),
    (2.0, re.compile(rf"\b(?:moderate(?:ly)?|medium)\b{_OF_CHANGE}")),
    (1.0, re.compile(
        rf"\b(?:small|mild(?:ly)?|minimal(?:ly)?|slight(?:ly)?|minor|subtle|faint|borderline|subsegmental|"
        rf"plate-?like|discoid|linear|streaky|low-?grade|top)\b{_OF_CHANGE}"
    )),
)  # fmt: skip
"""Severity from .75 (trace) over 1 (small, mild) and 2 (moderate) to 3 (large, severe); the first that matches."""
TRACE, SMALL, MODERATE, LARGE = 0.75, 1.0, 2.0, 3.0
_DEGREE = (
    r"(?:tension|trace|tiny|minute|small|mild|minimal|slight|moderate|medium|large|severe|massive|marked|extensive|"
    r"huge|substantial|gross|complete|total|sizable|sizeable|overt|frank)\b"
)
_NOT_DEGREES = re.compile(
    r"\b(?=[cdefinprw])(?:(?:no|not|without)(?: (?:an?|any|evidence|signs?|suggestion|findings|features|of|longer|very|"
    rf"particularly|definite|convincing|significant)){{0,4}} (?:{_DEGREE}(?: (?:to|or))? ?){{1,2}}|"
    rf"(?:previously|formerly)(?: (?:very|an?)){{0,2}} {_DEGREE}|from (?:very )?{_DEGREE}(?= to\b)|"
    r"(?:improv|decreas|increas|worsen|progress|enlarg|reduc|diminish|chang)(?:ed|ing)(?: \w+ly)?,? from (?:very )?"
    rf"{_DEGREE}|"
    rf"(?:was|were) (?:very )?{_DEGREE}(?=[^.;]{{0,60}} now\b))"
)
"""Degrees that are denied, or that the finding had before."""
_NOW = re.compile(
    r"\b(?:now|currently|(?:increas|decreas|improv|worsen|progress|enlarg|reduc|diminish)ed(?: in \w+)? to)"
    rf"(?: (?:only|an?|very)){{0,2}}(?= {_DEGREE})"
)
"""The degree behind these words is the present one."""

_SIZE = re.compile(
    r"(?<![\d.])(\d+(?:\.\d+)?)(?: ?(?:x|by|to|-) ?(\d+(?:\.\d+)?))?(?: ?x ?\d+(?:\.\d+)?)?[ -]?(mm|cm|millimet\w+|"
    r"centimet\w+)\b"
)
_NUMBERS = {"single": 1, "solitary": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
_SEVERAL = 3
_COUNTS = re.compile(
    rf"\b(?:(?P<number>{'|'.join(_NUMBERS)})(?! of| or| to|-)(?! view)|(?P<several>multiple|several|numerous|"
    rf"multifocal|"
    r"many|innumerable))\b"
)

_SAME = re.compile(
    r"\b(?:no|without|not)(?: \w+){0,3}? (?:changed?|increased?|decreased?|difference|worse(?:n\w*)?|improve\w*|"
    r"progress\w*|larger|smaller|resol(?:v\w+|ution)|clear(?:ed|ing))\b|\bneither \w+ (?:n?or) \w+|"
    r"\b(?:unchanged|stabl[ey]|persist\w*|similar|again|constant|remains?|continue[sd]?|continuing|still|"
    r"redemonstrat\w+)\b"
)
_CHANGES = (
    ("better", re.compile(
        r"\b(?:improv\w+|resol(?:v\w+|ution)|clear(?:ing|ed)|smaller|regress\w*|diminish\w*|less(?! likely)|lessened|"
        r"decreas(?:ed|ing|e)|reduc(?:ed|tion)|better(?! (?:assess|seen|eval|visual|apprec|charact|delin|demon|"
        r"shown)))\b"
    )),
    ("worse", re.compile(
        r"\b(?:worse(?:n\w*)?|progress\w*|larger|increasing|(?:has|have|is|are|now|interval|slightly|mildly|"
        r"minimally|substantially|significantly|markedly) increased?|increased? (?:in|since|from|compared)|"
        r"increased (?:(?:left|right|bilateral|small|moderate|large|mild|severe|lower|upper|middle|lobe|zone|lung|base|"
        r"basal|bibasilar|basilar|pleural|pulmonary|hazy|patchy|focal) ){0,4}(?:effusions?|edema|consolidations?|"
        r"atelectasis|pneumothora\w+|pneumonia|cardiomegaly|congestion|infiltrates?|opacit(?:y|ies)|nodules?|mass(?:es)?)|"
        r"more (?:extensive|prominent|conspicuous|severe|dense|confluent|pronounced|apparent)|re-?accumulat\w+|"
        r"aggravat\w*|"
        r"enlarging|interval enlargement|deteriorat\w*|exacerbat\w*)\b"
    )),
    ("new", re.compile(
        r"\b(?:new(?:ly)?|develop(?:ed|ment|ing)|interval (?:appearance|placement|insertion|intubation)|"
        r"(?:has|have) been (?:\w+ )?(?:placed|inserted)|"
        r"not (?:seen|present|visible|identified|noted) (?:previously|before|on (?:the )?(?:prior|previous)))\b"
    )),
)  # fmt: skip
_NOT_CHANGES = re.compile(
    r"\b(?:heart|cardiac)(?: size| silhouette)?(?: is)?(?: \w+ly)? increased\b(?! since| from| compared)|"
    r"\b(?=[lmsw])(?<!now )(?<!interval )(?<!become )(?:larger|smaller|worse|(?:more|less)(?: \w+)?) "
    r"(?:than|on|at|in)(?: (?:that )?(?:on|at|in))?(?: the)? (?:left|right|other side)\b"
    r"(?![^.;]{0,60}\b(?:since|compared|prior|previous\w*|before|interval|unchanged|stable|today)\b)"
)
"""Words of a size, or that compare the sides, not of a change."""
_GONE = re.compile(
    r"\b(?:resol(?:ved|ution)|clear(?:ed|ing|ance)|disappear\w*|vanished|gone|no longer|no more|no residual|"
    r"evacuat\w+|(?<!as )(?<!than )previously|"
    r"(?:the|this) (?:prior|previous)(?! \w*(?:exam|stud|radiograph|film|image|scan|ct|chest))|"
    r"(?:now|again|returned to|back to) (?:\w+ ){0,2}(?:normal|clear|sharp))\b"
)
"""What a denial says of a finding that the prior study has."""
_OLD = re.compile(
    r"\b(?:old|healed|healing|remote|chronic\w*|long-?standing|(?:prior|previous)(?: \w+){0,2} fractures?)\b"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Attributes:
    """`zones`: upper, middle, lower; `severity`: .75 (trace) to 3 (large, severe), or None; `size_mm`: the largest
    diameter; `count`: 3 stands for several; `change`: new, worse, better, same or ""; `is_gone`: if it is denied, it
    was there before ("resolved", "no longer seen")."""

    sides: frozenset[str] = frozenset()
    zones: frozenset[str] = frozenset()
    severity: float | None = None
    size_mm: float | None = None
    count: int | None = None
    change: str = ""
    is_old: bool = False
    is_gone: bool = False


def read_attributes(words: str) -> list[Attributes]:
    """The attributes in the words of one mention: one set, or one for each side that has its own severity."""
    whole = _read(words)
    if len(whole.sides) == 2:
        pieces = [_read(piece) for piece in _PIECE_END.split(words)]
        graded = [piece for piece in pieces if len(piece.sides) == 1 and piece.severity is not None]
        if {side for piece in graded for side in piece.sides} == whole.sides:
            return [
                replace(whole, sides=piece.sides, severity=piece.severity, size_mm=piece.size_mm) for piece in graded
            ]
    return [whole]


_PIECE_END = re.compile(r",? and |, | with |; ")


def _read(words: str) -> Attributes:
    plain = _NOT_SIDES.sub(" ", words)
    sides = {side for side, pattern in _SIDES.items() if pattern.search(plain)}
    if not sides and _BEHIND_HEART.search(plain):
        sides.add("left")
    zones = set(_ZONES) if _EVERYWHERE.search(words) else {zone for zone, find in _ZONES.items() if find.search(words)}
    number = _COUNTS.search(words)
    return Attributes(
        sides=frozenset(sides),
        zones=frozenset(zones),
        severity=_read_severity(words),
        size_mm=read_size(words),
        count=None if number is None else _NUMBERS.get(number["number"], _SEVERAL),
        change=_read_change(words),
        is_old=_OLD.search(words) is not None,
        is_gone=_GONE.search(words) is not None,
    )


def _read_severity(words: str) -> float | None:
    if _degree_in(words) is None:
        return None
    words = _NOT_DEGREES.sub(" ", words)
    now = _NOW.search(words)
    return _degree_in(words[now.end() :] if now else words)


def _degree_in(words: str) -> float | None:
    return next((degree for degree, pattern in _DEGREES if pattern.search(words)), None)


def read_size(words: str) -> float | None:
    """The largest length in the words, in mm."""
    sizes = [
        float(number) * (10 if size[3].startswith("c") else 1)
        for size in _SIZE.finditer(words)
        for number in size.groups()[:2]
        if number
    ]
    return max(sizes, default=None)


def _read_change(words: str) -> str:
    words = _NOT_CHANGES.sub(" ", words)
    rest = _SAME.sub(" ", words)
    changes = [change for change, pattern in _CHANGES if pattern.search(rest)]
    return changes[0] if changes else "same" if rest != words else ""


_CLAUSE_END = re.compile(
    r"[;:.] |\b(?:but|however|although|though|while|whereas|except|otherwise)\b|, (?:there|the) |"
    rf"\bwhich\b(?! (?:is|are|appears?|remains?) (?:now |very |only )?{_DEGREE})"
)
_SEPARATOR = re.compile(
    r", (?:and |or |with )?|/| (?:and|or|with|plus|versus|vs|due to|from|representing|represents?|reflecting|"
    r"reflects?|without|no|suggest\w*|may|could|likely|consistent|compatible|concerning) "
)
_BELONGS_TO_LAST = re.compile(
    r",? ?(?:left|right)(?: \w+)? (?:greater|larger|worse|more|>)|,? ?greater|,? ?(?:left|right) ?>"
)


def mention_windows(text: str, spans: Sequence[tuple[int, int]], *, is_wide: bool = False) -> list[str]:
    """The words around each mention that describe it; with `is_wide` also those beyond the end of its clause.

    `spans`: start and end of the mentions in order, not overlapping.

    Words between two mentions belong to the second if a separator follows the first at once ("effusion and small …"),
    otherwise to the first up to the last separator ("opacity in the right lower lobe, likely …")."""
    breaks = [] if is_wide else [(mark.start(), mark.end()) for mark in _CLAUSE_END.finditer(text)]
    cuts = [0]
    for (_, end), (start, _) in itertools.pairwise(spans):
        cuts.append(end + _cut(text[end:start]))
    cuts.append(len(text))
    windows = []
    for number, (start, end) in enumerate(spans):
        left = max([cuts[number], *(after for _, after in breaks if after <= start)])
        # The colon of a form is no end: "effusion: small, right".
        right = min([cuts[number + 1], *(before for before, _ in breaks if before >= end + text.startswith(":", end))])
        windows.append(text[left : max(right, end)])
    return windows


def _cut(gap: str) -> int:
    """Where the words between two mentions are divided."""
    if clause_end := _CLAUSE_END.search(gap, int(gap.startswith(":"))):
        return clause_end.start()
    separators = list(_SEPARATOR.finditer(gap))
    if not separators or (separators[0].start() == 0 and not _BELONGS_TO_LAST.match(gap)):
        return 0
    return separators[-1].start()
