"""Turn the text of any source into plain text, and its lines into sentences.

`plain_text` removes HTML and escaped line breaks, `without_placeholder` removes words that only say that there is no
text ("nan", "N/A"), and `join_lines` puts a text on one line without joining its statements."""

import html
import itertools
import re

_MAY_HAVE_MARKUP = re.compile(r"[<&\\\r\f\v\x85\u2028\u2029\t]|_x000[dD]_| {3}")
_ESCAPED_LINE_BREAK = re.compile(r"(?:\\{1,2}[rn])+|_x000[dD]_|\\\.(?:br|sp\d?)\\|\r\n?|[\f\v\x85\u2028\u2029]")
_ESCAPED_BLANK = re.compile(r"\\{1,2}t(?![a-z])")
_ESCAPED_QUOTE = re.compile(r"\\+(?=[\"'/])")
_LINE_TAG = re.compile(
    r"</?(?:p|br|hr|div|li|ul|ol|dl|dt|dd|tr|table|thead|tbody|h[1-6]|pre|section|article|body|html|head|title|center|"
    r"blockquote)\b[^<>]{0,500}>",
    re.IGNORECASE,
)
_CELL_TAG = re.compile(r"</t[dh]\s*>\s*<t[dh]\b[^<>]{0,500}>", re.IGNORECASE)
_HIDDEN = re.compile(r"<(style|script)\b[^<>]{0,500}>[^<]{0,5000}</\1\s*>|<!--.{0,5000}?-->", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(
    r"</?(?:b|i|u|s|em|strong|span|font|a|sup|sub|small|big|code|tt|td|th|img|meta|link|label|input|o:p|text|"
    r"paragraph|content)\b[^<>]{0,500}>|<!doctype[^<>]{0,200}>|<\?xml[^<>]{0,200}>",
    re.IGNORECASE,
)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,30});")
_COLUMN_GAP = re.compile(
    r"(?<=[\w)\]]) {0,9}(?:\t| {3})[ \t]{0,99}(?=(?:no|none|nil|not|yes|absent|present|negative|positive|possible|"
    r"unlikely|trace|small|mild|moderate|large|normal|clear|enlarged)\b|[\[(☐☑☒])",
    re.IGNORECASE,
)
_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n){2,}")


def plain_text(text: str) -> str:
    """The text without tags, entities and escaped line breaks. Paragraphs, list items and table rows become lines."""
    if not _MAY_HAVE_MARKUP.search(text):
        return text
    for _ in range(2):  # "&amp;nbsp;" is escaped twice
        text = _ENTITY.sub(lambda entity: html.unescape(entity.group()), text)
    text = _ESCAPED_QUOTE.sub("", _ESCAPED_BLANK.sub("\t", _ESCAPED_LINE_BREAK.sub("\n", text)))
    if "<" in text:
        text = _CELL_TAG.sub(" | ", _HIDDEN.sub("\n", text))
        text = _BLANK_LINES.sub("\n\n", _TAG.sub("", _LINE_TAG.sub("\n", text)))
    return _COLUMN_GAP.sub(" | ", text)


_NO_TEXT = re.compile(
    r"[\W_]*(?:nan|n ?[/.]? ?a|null|none|nil|nat|undefined|missing|empty|blank|unknown|unavailable|to[ _-]?generate|"
    r"tb[dc]|todo|placeholder|lorem ipsum|"
    r"not (?:available|applicable|provided|reported|dictated|given|done|entered|recorded|"
    r"yet (?:available|reported|dictated))|no (?:report|text|data|value|reading|result|impression|findings? section|"
    r"dictation)(?: (?:available|found|yet|provided|entered|given))?|"
    r"(?:(?:the |final |formal |radiology |official ){0,3}(?:report|reading|dictation|interpretation|result)s?[ :-]*)?"
    r"(?:is |are )?(?:still )?(?:pending|to follow|awaited|outstanding|in progress)|"
    r"(?:awaiting|pending) (?:the |final |formal |radiology |official ){0,3}(?:report|reading|dictation|"
    r"interpretation))[\W_]*|[\W_]*",
    re.IGNORECASE,
)
_LONGEST_PLACEHOLDER = 60


def is_placeholder(text: str) -> bool:
    """Whether a text only says that there is none: "nan", "N/A", "to_generate", "Report pending."."""
    return len(text) <= _LONGEST_PLACEHOLDER and _NO_TEXT.fullmatch(text) is not None


FORM_SIGN = r"(?: ?(?:[:=?|\t]|->|→|⇒)| [-–—]+(?= )| ?\.{3,})"
"""What stands between the name of a finding and its state in a form."""
BOX = r"(?:\[ ?[xX✓✔*]? ?\]|\( ?[xX✓✔*]? ?\)|[☐☑☒□■✓✔✗✘])"
_BOX = re.compile(BOX)
_FORM_LINE = re.compile(rf"[A-Za-z][\w /,'()-]{{1,50}}?{FORM_SIGN}")
_ITEM_START = re.compile(r"(?:[-*•·‣▪>|–—]|\(?\d{1,2}[.)]|\(?[a-z]\)) ?(?=\S)|" + BOX)
_NUMBERED_SENTENCE = re.compile(r"\d{1,2}\. ?[A-Z]")
_TABLE_RULE = re.compile(r"[|:+ =_-]*-{2,}[|:+ =_-]*")
_CLOSED = re.compile(r"[.!?;]['\")\]]?$")
_UNFINISHED = re.compile(
    r"(?:[,&/(–—-]|(?<!\w)(?:and|or|nor|of|the|an?|with|in|on|at|to|from|by|for|as|than|vs\.?|versus|is|are|was|were|"
    r"be|been|being|has|have|had|which|that|there|this|these|but|if|any|between|over|into|through|due|likely|may|"
    r"might|could|would|should|can|does|do|did|very|most|more|less|such|also|its|his|her|their|some|both|either))$",
    re.IGNORECASE,
)
_DENYING = re.compile(r"(?<!\w)(?:no|not|without|cannot|neither|non)$", re.IGNORECASE)
_NEEDS_NOUN = re.compile(
    r"(?<![\w:])(?<!: )(?:pleural|pulmonary|lower|upper|middle|small|large|mild|mildly|moderate|severe|tiny|trace|"
    r"focal|acute|chronic|bilateral|cardiac|mediastinal|hilar|costophrenic|airspace|air-space|interstitial|rib|"
    r"evidence|signs?|interval|new|old|possible|probable|suspected|definite|significant|minimal|basilar|bibasilar|"
    r"apical|patchy|hazy|central|venous|endotracheal|nasogastric|osseous|bony|soft|cardiomediastinal|cardiopulmonary|"
    r"residual|consistent|compatible|secondary|status|(?<!the )(?<!on )(?:left|right))$",
    re.IGNORECASE,
)
_CONTINUES = re.compile(
    r"(?:and|or|nor|but|with|without|which|that|in|on|at|of|to|from|by|for|as|is|are|was|were|has|have|than|versus|vs|"
    r"due|consistent|compatible|suggest\w*|seen|noted|present|identified|not|may|could|likely|since|after|before|"
    r"compared|projecting|overlying|measuring|involving|within|behind|above|below|near)\b",
    re.IGNORECASE,
)
_MIN_WIDTH = 50
"""Narrower text is a list, not prose that was wrapped."""


def join_lines(text: str) -> str:
    """The text on one line, with single blanks. A line that ends a statement without punctuation gets a full stop."""
    if "\n" not in text:
        return " ".join(text.split())
    blocks = statement_blocks(text)
    closed = [
        block if _NUMBERED_SENTENCE.match(following) else _closed(block)
        for block, following in itertools.pairwise(blocks)
    ]
    return " ".join([*closed, *blocks[-1:]])


def statement_blocks(text: str) -> list[str]:
    """The text in pieces of one line each, every one of which ends with a statement.

    A line that begins with a capital, an item or a form's entry begins a statement, unless the line before is
    unfinished ("No evidence of"). Other lines continue the one before, unless no line of the paragraph ends with a full
    stop and the line was not wrapped for want of room.
    """
    lines = [" ".join(line.split()) for line in text.split("\n")]
    width = max(map(len, lines))
    blocks: list[str] = []
    paragraph: list[str] = []
    for line in [*lines, ""]:
        if not line and paragraph:
            blocks += _blocks_of(paragraph, width)
            paragraph = []
        elif line and not _TABLE_RULE.fullmatch(line):
            paragraph.append(line)
    return blocks


def _blocks_of(lines: list[str], width: int) -> list[str]:
    is_prose = any(_CLOSED.search(line) for line in lines)
    blocks, open_lines = [], []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        open_lines.append(line)
        if not following or _ends_statement(line, following, is_prose=is_prose, width=width):
            blocks.append(" ".join(open_lines))
            open_lines = []
    return blocks


def _closed(line: str) -> str:
    return line if _CLOSED.search(line) or line[-1] == ":" else f"{line.rstrip(' ,')}."


def _ends_statement(line: str, following: str, *, is_prose: bool, width: int) -> bool:
    if _CLOSED.search(line):
        return False  # the punctuation says so already
    if _ITEM_START.match(following) or _BOX.search(line) or line[0] == "|":
        return True
    is_unfinished = line[-1] == ":" or _UNFINISHED.search(line)
    if _FORM_LINE.match(following) and not (is_prose and following[0].islower()):
        return not is_unfinished
    if is_unfinished or (_DENYING.search(line) and ":" not in line):
        return False
    first_word = following.split(maxsplit=1)[0]
    was_wrapped = width >= _MIN_WIDTH and len(line) + 1 + len(first_word) > width
    needs_noun = _NEEDS_NOUN.search(line) is not None
    if following[0].isupper() and following[1:2].islower():
        return not (was_wrapped and needs_noun and is_prose)
    return not (is_prose or was_wrapped or needs_noun or _CONTINUES.match(following))
