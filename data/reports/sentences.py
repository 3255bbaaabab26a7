"""Split report text into sentences, and recognize sentences that refer to a prior study.

A model that sees one study and was trained on references to prior studies invents comparisons. "Stable" and "unchanged"
refer to a prior study; "chronic" and "old" do not. Prior surgery, the absence of a prior study and advice for the
future do not count either. Phrases of `NO_PRIOR_STUDY` are matched first, so "no prior studies" does not count as
"prior studies"."""

import re
from functools import lru_cache

from data.reports.plain_text import statement_blocks

_ABBREVIATIONS = r"(?<!\bDr\.)(?<!\bMr\.)(?<!\bMs\.)(?<!\bMrs\.)(?<!\bSt\.)(?<!\bvs\.)(?<!\b[ap]\.m\.)(?<!approx\.)"
_LIST_NUMBER = r"(?<!\b\d\.)(?<!\b\d\d\.)"
_NO_ANSWER = r"(?!(?<=\?)\s+(?i:no|yes|none|nil|unlikely|possible|not seen)(?:[.,;]|\s*$))"
"""An answer stays with its question: "Pneumothorax? No."."""
_END = re.compile(
    rf"(?<=[.!?]){_ABBREVIATIONS}{_LIST_NUMBER}{_NO_ANSWER}\s+"
    r"|(?<=[a-z]\d\.)\s+|(?<=[a-z]\d\d\.)\s+|(?<=[A-Z]\d\.)\s+|(?<=[A-Z]\d\d\.)\s+"  # "T8." is not the number of a list
    r"|(?<=[a-z)]\.)(?=[A-Z][a-z]|\d{1,2}\. ?[A-Z])"  # a missing blank
    r"|(?<=[.!?])\s+(?=\d{1,2}[.)] ?[A-Z])"
)
_ITEM = re.compile(r"\(?(\d{1,2})[.)] ?(?=[A-Z_])")
_INNER_ITEM = re.compile(rf"(?<=[^\s.;!?]) (?={_ITEM.pattern})")


def split_sentences(text: str) -> list[str]:
    """The sentences in order, with single blanks. The number of a list item stays with its sentence."""
    sentences, item = [], 0
    blocks = statement_blocks(text) if "\n" in text else [text.strip()]
    for piece in (piece for block in blocks for piece in _END.split(block)):
        piece = " ".join(piece.split())
        if number := _ITEM.match(piece):
            item = int(number.group(1))
        # List items without a full stop between them: "1. No effusion 2. No edema", but not "It measures 12. No edema".
        start = 0
        for match in _INNER_ITEM.finditer(piece):
            if int(match.group(1)) == item + 1:
                sentences.append(piece[start : match.start()])
                item, start = item + 1, match.end()
        sentences.append(piece[start:])
    return [sentence for sentence in sentences if sentence]


_LATELY = r"(?:prior|previous|earlier|preceding|last|old|older|remote|outside|recent|comparison)"
_IMAGING = (
    r"(?:exam(?:ination)?s?|stud(?:y|ies)|(?:radio)?graphs?|films?|images?|imaging|x-?rays?|x-xxxx|cxrs?|cts?|scans?|"
    r"radiographs?|chest|mris?|comparisons?|reports?|views?)"
)
_NO_IMAGING = r"(?! (?:surg|tube|trauma|wall|radiation|injur|operation|procedure|pain|radiotherapy|drain|infection))"
_PRIOR_IMAGING = rf"{_LATELY}s?(?: (?!to\b|of\b)[\w/-]+){{0,4}}? {_IMAGING}{_NO_IMAGING}"
_UNNAMED = r"(?:x{4,}|_{3,}|\[[^\]]{1,40}\]|\d)"
_AMOUNT = (
    r"(?:(?:significant|interval|appreciable|gross|definite|substantial|major|overall|other|obvious|radiographic|"
    r"further|marked|relevant|apparent|clear|large|much|visible|real|x{4,}|_{3,})(?:ly)? ){0,4}"
)
_DONE = r"(?:has|have|had|having|is|are|was|were|now|since|completely|nearly|almost|partially|largely|mostly|interval)"

PRIOR_STUDY = (
    r"compar(?:ed|ison|ing)(?: is)?(?: made)? (?:to|with)|in comparison|as compared|comparison(?=:? (?:x{4,}|_{3,}))",
    rf"(?:from|since|than|to|with|on|the|in|and|of|as) (?:the |his |her |that |this |a |most ){{0,6}}{_PRIOR_IMAGING}",
    rf"^{_PRIOR_IMAGING}|{_LATELY} {_IMAGING}{_NO_IMAGING}",
    r"(?:from|since|than|to|with|on|of) (?:the )?(?:prior|previous|comparison)s?(?= ?[.,;)]|$| x{4,}| _{3,})",
    rf"(?:since|as of) (?:the )?(?:prior|previous|last|earlier|yesterday|{_UNNAMED})|since that time|yesterday(?:'s)?",
    r"previously|formerly|as (?:seen |noted |described |was )?(?:before|previously)|than before|no longer|hitherto",
    r"unchanged|not (?:\w+ )?changed|(?:has|have) changed|changed (?:from|since|in)",
    rf"(?:no|without|any|little|minimal|slight) {_AMOUNT}change(?! of)|"
    r"(?:no|without) (?:significant|interval|appreciable)(?: \w+)? changes?",
    r"change from|changes? (?:since|compared)|interval(?:ly)?|(?:in|over) the interim",
    r"stable",
    r"again|re-?demonstrat\w+|re-?identified|re-?visuali[sz]ed",
    r"new(?:ly)?(?! york| onset)",
    r"(?:has|have|had|now) (?:\w+ly )?(?:in|de)creased(?: in size)?",
    r"(?:in|de)creased (?:in (?:size|number|extent)|since|from)",
    r"(?:grossly|overall) similar|similar[ -]appearing|^(?:\d\. )?similar",
    r"(?:in|de)creasing|(?:increase|decrease) in (?:the )?(?:size|number|extent)|has (?:grown|enlarged|diminished)",
    r"improv(?:ed|ing|ement)|worsen(?:ed|ing)|progress(?:ed|ion|ing)",
    rf"(?:{_DONE} ){{0,3}}(?:resolved|cleared)|resolving|(?:resolution|clearing|clearance) of",
    r"(?:has|have) (?:since |now )?developed|development of|re-?accumulat\w+",
    r"persist(?:ent(?:ly)?|s|ed|ence|ing)?|continued|continues? to|remain(?:s|ed)?(?! which)",
    r"(?:has|have) (?:\w+ )?been (?:\w+ )?(?:removed|withdrawn|advanced|repositioned|retracted|exchanged)|"
    r"removal of",
    r"now",
)
"""Each phrase implies an earlier study."""

_ADVICE = r"(?:recommend\w*|consider(?:ed)?|advis\w+|please|correlat\w+|if(?! any))"
_PURPOSE = (
    r"(?:to|should|could|would|may|document|ensure|confirm|establish|assess|evaluate|demonstrate|until|require|for)"
)
_NONE = r"(?:no|without|lack of|absence of|absent|not have|nor)"

NO_PRIOR_STUDY = (
    rf"{_NONE} "
    r"(?:(?:any|a|recent|relevant|available|such|other|the|old|prior|previous|pertinent|direct|definite) ){0,8}"
    rf"(?:{_PRIOR_IMAGING}|comparisons?|priors?)(?: {_IMAGING})?(?: (?:is|are|was|were))?(?: \w+)? ?"
    r"(?:available|provided|submitted)?(?: (?:for|to|at) (?:\w+ )?(?:comparison|compare|time))?",
    r"(?:(?:prior|previous|comparison|old) ){1,6}(?:\w+ ){0,2}(?:is|are|was|were) (?:not (?:\w+ )?|un)available",
    rf"{_ADVICE}\b[^.;]{{0,300}}",
    rf"{_PURPOSE} (?:\w+ ){{0,5}}?(?:resolution|resolve|clearing|clearance|stability|improvement|progression)(?: of)?",
    r"comparison(?: (?:to|with))?(?: [\w-]+){0,5},? (?:if|would|could|may|might|is (?:recommended|suggested|advised))\b"
    r"[^.;]{0,300}",
    r"(?:short|short-term|appropriate|regular|\d|month|week|year|treatment|therapy|follow-?up|xxxx)[ -]interval|"
    r"interval (?:follow|film|radiograph|imaging|surveillance)|at (?:an? )?\w+ intervals?|(?:pr|qt) interval",
    r"compar(?:ed|ison) (?:to|with) (?:the )?(?:left|right|contralateral|opposite|other|ipsilateral|rest|remainder)",
    r"(?:clinically|hemodynamically|haemodynamically|medically|neurologically) stable",
    r"stable (?:condition|angina|vital\w*)",
    r"stable(?= for discharge)|(?:patient|he|she) (?:is|was|remains) stable",
    r"high[ -]resolution|improved (?:visuali[sz]ation|evaluation) (?:could|may|can|with)",
    r"(?:follow|attention|surveillance)[- ]?up",
    r"now(?= (?:with|presents|presenting))|again(?= recommend)|continued (?:follow|surveillance|monitoring|attention)",
)
"""Phrases that look like PRIOR_STUDY but do not refer to a prior study: there was none, or they mean the future."""

_PHRASES = re.compile(
    rf"(?<![\w-])(?:(?P<none>{'|'.join(NO_PRIOR_STUDY)})|(?P<prior>{'|'.join(PRIOR_STUDY)}))(?!\w)", re.IGNORECASE
)


@lru_cache(maxsize=8192)
def speaks_of_prior(sentence: str) -> str:
    """The words of a sentence that refer to a prior study; "" if there are none."""
    return next((match.group() for match in _PHRASES.finditer(sentence) if match.group("prior")), "")
