"""Regular expressions for negation, uncertainty and changes of subject, and the correction of misspelled findings.

The tables are matched like those of `finding_patterns`. A cue before a finding decides what follows it, up to the next
break or assertion; a "later" cue decides what is before it, back to the last break or assertion.

Misspellings of the words that name findings are corrected: "effusoin", "cardiomegally", "atelectsis". A misspelling has
one letter missing, added, changed or moved, never the first. Only long words are corrected: from seven letters on,
hardly any English word is that close to another. The few exceptions found in reports are listed."""

import re
from functools import lru_cache

_WORDS = (
    "atelectasis", "atelectatic", "cardiomegaly", "catheter", "collapse", "congestion", "consolidation",
    "consolidations", "costophrenic", "effusion", "effusions", "fracture", "fractures", "infection", "infiltrate",
    "infiltrates", "interstitial", "mediastinal", "mediastinum", "opacification", "opacities", "opacity", "pacemaker",
    "pleural", "pneumonia", "pneumothoraces", "pneumothorax", "pulmonary", "silhouette", "sternotomy", "thickening",
)  # fmt: skip
_SHORT_SLIPS = {
    "edma": "edema", "eedma": "edema", "odema": "edema", "edemia": "edema", "edeema": "edema", "ededma": "edema",
    "nodlue": "nodule", "noduel": "nodule", "nodual": "nodule", "noduls": "nodules",
    "nodlues": "nodules", "haert": "heart", "luings": "lungs", "lugns": "lungs", "nromal": "normal", "norml": "normal",
}  # fmt: skip
_NO_SLIPS = frozenset({
    "atelectases", "catheters", "collapsed", "collapses", "effusive", "fractured", "fracturing", "infections",
    "infective", "infiltrated", "infiltrating", "infiltration", "injection", "opacifications", "opacified", "opacify",
    "pacemakers", "pleura", "pneumoniae", "pneumonias", "pneumonic", "plural", "silhouettes",
})  # fmt: skip
"""Other words, or forms that the tables contain."""
_SHORTEST = min(len(word) for word in _WORDS) - 1


def _without_one_letter(word: str) -> set[str]:
    return {word[:position] + word[position + 1 :] for position in range(1, len(word))}


_MEANT = {shorter: word for word in _WORDS for shorter in _without_one_letter(word)} | {word: word for word in _WORDS}


@lru_cache(maxsize=16384)
def _fixed(word: str) -> str:
    if word in _SHORT_SLIPS:
        return _SHORT_SLIPS[word]
    if len(word) < _SHORTEST or word in _NO_SLIPS or _MEANT.get(word) == word:
        return word
    if word in _MEANT:
        return _MEANT[word]
    return next((_MEANT[shorter] for shorter in sorted(_without_one_letter(word)) if shorter in _MEANT), word)


_WORD = re.compile(r"[a-z]{4,20}")


def fix_spelling(sentence: str) -> str:
    """Correct misspelled names of findings in a lower-case sentence."""
    if all(_fixed(word) == word for word in _WORD.findall(sentence)):
        return sentence
    return _WORD.sub(lambda word: _fixed(word.group()), sentence)


SEEN = (
    r"(?:seen|identified|noted|present|visuali[sz]ed|evident|appreciated|demonstrated|detected|observed|found|apparent|"
    r"visible|suggested|delineated|shown)"
)
_EXCLUDE = r"(?:exclude[ds]?|rule[ds]? out|r/o)"
_GONE = r"(?:resolved|cleared|disappeared|vanished|gone)"
_WELL = r"(?:well|clearly|fully|completely|optimally|adequately|reliably)"
_END = (
    r"(?= ?[.,;)]|$| (?:on|in|at(?! least)|given|but|although|though|however|while|whereas|clinically|"
    r"radiographically|here)\b)"
)
"""Behind a word that decides a finding before it, not one that follows: "possible on the left", not "possible mass"."""
_APPEARS = (
    r"(?=[aiswr])(?:(?:is|are|was|were)(?: felt| thought| considered| believed)|appears?|seems?|remains?)"
    r"(?: to (?:be|have)(?: been)?)?(?: (?:now|since|completely|entirely|fully)){0,2}"
)

NEGATIONS = (
    rf"(?:not|no longer) {SEEN} (?:is|are)",
    r"no longer (?:is|are|was|were)(?: there)?|no longer|no more|(?:nor|neither) (?:is|are|was|were) there",
    r"at no (?:point|time|site|place) (?:is|are|was|were) there",
    r"(?:do|does|did)(?: not|n't)(?: \w+)? (?:demonstrate|show|reveal|see|have|identify|suggest|appear|represent)"
    r"(?: to have)?",
    r"fail(?:s|ed)? to (?:demonstrate|show|reveal)|(?:can ?not|can't|could not) (?:see|identify|appreciate|detect)",
    r"(?:no|without|lack of|absence of)(?: \w+){0,4} (?:evidence|signs?|suggestion|findings?|features?|indications?)"
    r"(?: \w+)? (?:of|for|to suggest|to indicate|suggestive of|suggesting|suspicious for)",
    r"nothing(?: \w+)? to (?:suggest|indicate)",
    r"(?:is|are|was|were)n't",
    r"no|without|w/o|none|nor|neither",
    r"neg(?:ative)?(?: \w+)? for|free (?:of|from)|clear of|devoid of|absence of|lack of|absent|denies|ruled out for",
    r"clear(?= (?:focal|air ?-?space))",
    r"not",
    r"(?:highly |very )?unlikely(?: to (?:be|represent|reflect)|"
    r" that \w+(?: \w+)? (?:represents?|reflects?|is|are|has|have))?",
    r"(?:interval |complete ){0,2}(?:resolution|clearing|clearance|removal|disappearance|evacuation) of",
    r"(?:resolved|cleared|removed)(?= \w)",
    r"rather than|instead of",
)

LATER_NEGATIONS = (
    rf"(?:(?:is|are|was|were|has been|have been) )?(?:not|no longer)(?: (?!{_WELL}|as)\w+)? {SEEN}(?! (?:is|are) "
    rf"(?:an?|any|the)\b)",
    rf"(?:has|have) (?:not|never) been {SEEN}",
    rf"(?:can ?not|can't|could not) be {SEEN}",
    rf"(?:has|have|had|is|are|was|were)(?: now| since| subsequently| been| \w+ly)? {_GONE}",
    rf"(?:{_GONE}|removed)(?= ?[.,;)]|$| since| from| on| in| with| and| after| following| but)",
    r"(?:is|are|was|were)(?: considered| felt| thought)? (?:absent|excluded|ruled out|negative|removed|"
    r"unlikely(?! t(?:o|hat)))",
    rf"{_APPEARS} (?:{_GONE}|removed|absent|excluded|ruled out|unlikely(?! t(?:o|hat)))(?! to (?:an?|the)\b| in part)",
    rf"(?:considered )?(?:unlikely|absent)(?:{_END}|(?= bilaterally))",
    r"(?:has|have)(?: now| since| subsequently)? been(?: \w+ly)? (?:excluded|ruled out|removed|evacuated|extubated)",
    r"can be (?:excluded|ruled out)",
    r"(?=[dh])(?:ha(?:s|ve|d)|did|do(?:es)?)(?: not|n't)(?: \w+ly)? (?:recur(?:red)?|re-?accumulated?|develop(?:ed)?|"
    r"re-?appear(?:ed)?|re-?formed?|return(?:ed)?(?! to))(?! further| any)",
    r"never (?:recurred|re-?accumulated|developed|re-?appeared)",
    r"removal(?= ?[.,;]|$)",
    r"none(?<=, none)(?= ?[.;)]|$| (?:seen|identified|present|visible)(?= ?[.;)]|$))",
    r"rules? out(?= ?[.,;]|$)",
)

_ADJECTIVES = (
    "small", "tiny", "trace", "mild", "minimal", "slight", "moderate", "large", "severe", "marked", "new", "unchanged",
    "stable", "persistent", "old", "healed", "healing", "chronic", "acute", "subacute", "recent", "remote", "left",
    "right", "unilateral", "bilateral", "one", "two", "three", "single",
)  # fmt: skip
_BEHIND_ADJECTIVE = "|".join(rf"(?<=\b{word} or)" for word in _ADJECTIVES)
JOINED_ADJECTIVES = (
    rf"or(?:{_BEHIND_ADJECTIVE})(?= (?:\w+ly )?(?:{'|'.join(_ADJECTIVES)}|larger|smaller|worse|multiple|several|"
    r"(?:increas|improv|worsen|decreas|enlarg)(?:ed|ing))\b(?! densit| interstit| \w+ markings))",
)
"""An "or" that joins no findings: "small or moderate effusion"."""

_NO_SIDE = r"(?:no|not|without)(?: (?:an?|any|definite|significant|appreciable|large|visible))?"
_SIDE = r"(?:left|right)(?:-sided)?"
TWO_SIDES = (
    rf"(?=[lr]){_SIDE}(?:,? (?:and|but)|,) {_NO_SIDE} {_SIDE},?",
    rf"(?=[nw]){_NO_SIDE} {_SIDE},? (?:but(?: an?)?|and an?|and(?= (?:small|trace|tiny|mild|moderate|large|minimal)\b))"
    rf"(?: (?:very |small|trace|tiny|mild|moderate|large|minimal)){{0,2}} {_SIDE}",
)
"""Two sides before one finding, which is there on one side only."""
NOT_THERE = (
    r"no(?:(?<=, no)|(?<=and no)|(?<=but no))(?:ne|t)(?: seen| visible| present)? (?:on|in|at) (?:the )?"
    r"(?:left|right|other|opposite|contralateral)(?: side)?",
)
"""The last finding is not there: "effusion on the right, none on the left"."""

NOT_NEGATIONS = (
    r"(?:no|without)(?: (?:significant|appreciable|definite|substantial|interval|overall|xxxx|other|major|gross|"
    r"obvious|further|evidence of)){0,3} (?:changes?|increase|decrease|improvement|worsening|difference|progression|"
    r"resolution|clearing)(?: (?:in|of|to|from)(?: the)?)?",
    rf"not (?:yet )?(?:\w+ )?(?:changed|only|improved|increased|decreased|enlarged since|{_GONE}|been removed|larger|"
    r"smaller|worse|worsened|progressed)",
    rf"(?:(?:is|are|was|were) )?not (?:\w+ )?{SEEN} (?:previously|before|(?:on|in) (?:\w+ ){{0,3}}(?:prior|previous|"
    r"older|earlier|comparison|lateral|frontal|pa|ap)(?: \w+)?)",
    r"no doubt|if not",
    r"(?:(?:has|have|had|is|are|was|were) )?(?:(?:now|since|been|interval) )?(?:near(?:ly)?|almost|partial(?:ly)?|"
    r"partly|incomplete(?:ly)?|virtually|largely|mostly|substantial(?:ly)?|considerabl[ey]|slight(?:ly)?|"
    r"minimal(?:ly)?|mild(?:ly)?|moderate(?:ly)?|some|significant(?:ly)?|marked(?:ly)?)[ -](?:interval )?(?:partial )?"
    r"(?:complete(?:ly)? |completely |entirely )?(?:resol(?:ved|ution|ving)|clear(?:ed|ing|ance)|gone|"
    r"disappear(?:ed|ance)|vanished)(?: of)?",
    rf"(?:has |have |had )?{_GONE} (?:to a (?:large|great|certain) extent|for the most part|in (?:large )?part|"
    r"partially|partly|mostly|incompletely|almost|except|apart from|but for)",
)
"""Phrases that begin like a negation but deny no finding ("no change in the effusion")."""

REVERSALS = (r"no(?: \w+)? (?:evidence|sign|indication|proof) that|not(?: \w+)? (?:clear|certain|sure|proven) that",)
"""What follows is not denied, even if later words deny it ("no evidence that the effusion has resolved")."""

UNCERTAIN_DESPITE_NEGATION = (
    r"(?:can ?not|can't|could not|unable to|not able to|difficult to|hard to|not possible to|impossible to|does not|"
    rf"do not|doesn't|did not|would not)(?: \w+){{0,2}} {_EXCLUDE}",
    rf"not (?:\w+ )?{_EXCLUDE} (?:is|are)",
    r"(?:not|without)(?: \w+)? (?:excluding|ruling out)",
    r"(?:to )?(?:exclude|rule out|r/o)(?: the possibility of)?",
    r"(?:(?:can ?not|can't|could not|unable to|not able to|difficult to|hard to|(?:not |im)possible to) (?:\w+ly )?"
    r"(?:tell|say|determine|know|judge|establish|decide)|unclear|uncertain|unsure|unknown|not (?:\w+ )?(?:sure|certain|"
    r"clear|known)|doubtful|questionable) (?:whether|if)(?: or not)?(?: (?:there|this|these|it) (?:is|are|"
    r"represents?))?",
    r"whether(?: or not)? there (?:is|are)",
    r"not (?:\w+ )?(?:inconsistent|incompatible) with",
)

HEDGES = (
    r"rather(?! (?:than|well|large|small|extensive))",
    r"apparent(?=(?: \w+){1,6}? (?:due|secondary|related|attributable) to)",
    r"(?:possible|probable|likely|possibly|probably)(?: that)? there (?:is|are)",
    r"(?:possible|probable|likely|suspect(?:ed)?|question(?:ed)?|doubt(?:ed|ful)?|unclear|uncertain|unsure|unknown)"
    r"(?: that| whether| if)? (?:this|these|it|they|the \w+)(?: \w+)? (?:represents?|reflects?|is|are|was|were)",
    r"(?:which|that) would (?:suggest|indicate|be (?:concerning|suspicious|worrisome) for)",
    r"would be (?:consistent|compatible) with|(?:thought|felt|believed) to (?:be|represent|reflect)",
    r"(?:(?:most|more|less)[ -])?"
    r"(?:likely|probably|possibly|perhaps|may|might|could)"
    r"(?: also| well| still| not){0,2}"
    r"(?: (?:be|have|represent(?:s|ing)?|reflect(?:s|ing)?|indicat(?:e|es|ing)|suggest(?:s|ing)?|due to|related to|"
    r"secondary to|is|are|relate to)){1,3}",
    r"(?:most |more |less )?likely",
    r"more (?:consistent|compatible|in keeping|suggestive|typical) (?:with|of)(?=(?: \w+){1,6}? than )",
    r"than (?:with|of|for)",
    r"maybe|may|might|could",
    r"poss?ib(?:le|ly|ility)(?: of)?|probab(?:le|ly)|potential(?:ly)?|presum\w+|perhaps|equivocal",
    r"questionab(?:le|ly)|suspect(?:s|ed)?|question(?: of)?|query|doubt\w*|either(?! (?:lung|side|base|hemi|costo))",
    r"(?:suspicious|suspicion|concern(?:s|ing)?|worrisome)(?: \w+)? (?:for|of|about)|worry (?:for|about)",
    r"raises?(?: the)? (?:possibility|question|concern)(?: \w+)?",
    r"suggest(?:s|ive of|ive|ing|ion of|ed)?",
    r"favor(?:s|ed|ing)?(?: to represent)?",
    r"consider(?! (?:ct|mri|cta|chest|rib|dedicated|oblique|further|additional|follow|repeat|short))",
    r"if (?:any|present)",
    r"differential(?: \w+){0,2} (?:includes?|is|are|for)(?: \w+ and includes)?",
    r"differential",
)

INFERENCES = (r"to (?:suggest|indicate)",)
"""After a denial, what follows is denied too ("no consolidation is seen to suggest pneumonia"); otherwise a hedge."""

COMPARISONS = (
    r"(?=[aibcflmstw])(?:(?:is|are|was|were|seems?|appears?|would be) )?(?:(?:felt|thought|considered|"
    r"believed)(?: to be)? )?"
    r"(?:much |far )?(?:more|less) (?:likely|probable) than",
    r"(?:is|are) (?:strongly )?(?:favou?red|preferred) over",
)
"""Both findings are uncertain, the one before and the one after."""

LATER_HEDGES = (
    r"(?=[aeimw])(?:would be |is |are |may be )?easy to (?:miss|overlook)|(?:could|may|might) have been (?:missed|"
    r"overlooked|hidden)|(?:could|may|might) (?:lie|hide|exist|lurk)",
    r"(?=[dlopsr])(?:likely |probably )?(?:due|secondary|related|owing) to (?:the )?(?:ap|portable|"
    r"supine) (?:projection|technique|view|film|positioning)",
    r"(?=[abcimw])(?:which |and |but )?(?:may|might|could|is likely|is probably)(?: be| well be)?(?: in part|"
    r" partly)? (?:due|secondary|related|attributable) to (?:the )?(?:ap |portable |supine |patient |film ){0,2}"
    r"(?:projection|technique|rotation|positioning|position|magnification)",
    r"(?=[cm])(?:may|might|could)(?: \w+)? be(?: \w+ly)? (?:exaggerated|accentuated|magnified|"
    r"overestimated)",
    r"(?=[cmw])(?:would|could|may|might|can)(?: \w+ly)?(?: also)? be(?: \w+ly)? (?:missed|overlooked|hidden|obscured|"
    r"masked|concealed|"
    r"(?:difficult|hard|impossible) to (?:\w+ly )?\w+(?= ?[.,;)]|$| on| in| at| given| with| here| due))",
    r"(?=[ai])(?:is|are) (?:difficult|hard) to (?:\w+ly )?(?:see|assess|evaluate|detect|identify|confirm)"
    r"(?= ?[.,;)]|$| on| in| at| given| with| here| due)",
    r"(?=[hmnw])(?:must|ha(?:s|ve) to|needs? to|would (?:have|need) to)(?: also| still)? be "
    r"(?:considered|excluded|ruled out)",
    r"(?=[aiwr])(?:is|are|was|were|appears?|remains?) (?:at most )?(?:very )?"
    r"(?:small|tiny|trace|minimal|mild|slight|minor)(?:,? if (?:any|present)| or (?:absent|non-?existent))(?: at all)?",
    r"would be (?:an? )?(?:(?:less likely |further |diagnostic )?(?:consideration|possibility)|possible)",
    rf"(?=[cmw])(?:can ?not|can't|could not|may not|would not)(?: \w+)? be(?: \w+)? {_EXCLUDE}",
    rf"(?=[aihnw])(?:(?:is|are|has|have|was|were) )?not(?: been)?(?: \w+)? {_EXCLUDE}"
    rf"(?:{_END}|(?= by| with| and))",
    rf"(?=[adhin])(?:is |are )?(?:difficult|hard|impossible|not possible) to (?:\w+ )?{_EXCLUDE}(?:{_END}|(?= with))",
    rf"(?=[aciflntuw])(?:(?:is|are|was|were)(?: felt| thought| considered)?(?: to be)? )?(?:unlikely|less likely),?"
    rf" (?:but|although|though|yet)(?: \w+){{0,2}} (?:not(?: \w+)? {_EXCLUDE}|possible)",
    rf"{_APPEARS} (?:possible|probable|questionable|equivocal|less likely|an? (?:possibility|consideration|"
    rf"concern)){_END}",
    rf"(?=[ainpw])(?:(?:is|are|was|were) )?(?:not (?:\w+ )?{_WELL}|poorly)[ -]{SEEN}",
    r"(?=[ai])(?:is|are)(?: also)? (?:possible|suspected|questioned|questionable|likely(?! \w+ than)|probable|"
    rf"suggested|less likely{_END}|favored|presumed|"
    r"considered(?! unlikely)|equivocal|doubtful|(?:a )?(?:consideration|possibility|possibilities)|"
    r"(?:an? |of )?concern(?! for| about| of| that| regarding))",
    r"(?=[cmsw])(?:should|could|may|might|would) (?:also )?be (?:considered|present|excluded)",
    rf"(?=[lnpqs])(?:less likely|not excluded|possible|suspected|questionable){_END}",
    r"if (?:any|present)(?= ?[.,;)]|$| is| are)",
    r"(?:is|are) in the differential",
)

ALTERNATIVES = (r"or|and/or|versus|vs",)
"""Between two findings that are not denied, these make both uncertain."""

IGNORED_CONTEXTS = (
    r"(?:with )?(?:a |known |past |previous |prior ){0,3}(?:medical |surgical )?(?:history|hx)(?: of| for)?|h/o",
    r"(?:evaluat(?:e|ion)|assess|check|indication|eval|screen\w*|work-?up) (?:for|of)",
    r"follow[- ]?up (?:of|for)",
    r"(?:correlation|correlate|correlated|recommend\w*|consider)(?: \w+){0,3} (?:for|with)",
    r"(?:ensure|document)(?:s|ing)? (?:\w+ )?resolution",
    r"(?:simulat(?:e|es|ed|ing)|mimic(?:s|ked|king)?|resembl(?:e|es|ing))",
    r"(?:gives?|giving|creat(?:es|ing)|caus(?:es|ing)) (?:the|an?) (?:false )?(?:appearance|impression|illusion) of",
    r"(?:mistaken|misinterpreted|misread|confused) (?:for|as|with)|what (?:looks?|appears?)(?: \w+)? (?:like|to be|as)",
    r"(?:could|may) obscure|obscures?|(?:limit(?:s|ing)? )?(?:detection|sensitivity|exclusion|evaluation|"
    r"assessment) (?:of|for)",
    r"(?=[dhi])(?:difficult|hard|impossible) to (?:\w+ly )?(?:detect|see|assess|evaluate|identify)(?= \w)",
    r"(?:if(?! any| present)|unless|should)(?: there)?(?: is| are| be)?"
    r"(?: (?:clinical|persistent|continued|ongoing|further|any))?"
    r"(?: (?:concern|suspicion|question|symptoms)(?: \w+)? (?:for|of))?",
    r"(?:on|in) (?:the |a |an )?(?:prior|previous|earlier|old)(?: \w+){0,3} (?:study|exam|examination|radiograph|scan|"
    r"ct|film|x-ray)s?(?: dated)?(?: \w+)?,? (?:there )?(?:was|were)(?: an?)?",
)
"""What follows is history, a question, a condition or advice, not an observation."""

PAST_EVENTS = (r"status[- ]post|s/p|post(?:operative|-op)? changes (?:of|from)",)
"""What follows is a past event: a disease need not be present now, a device is."""

LATER_IGNORED = (
    r"(?:may|might|could) not be (?:demonstrated|seen|visible|apparent|evident)",
    r"c(?:an ?not|an't|ould not)(?: \w+)? be(?: \w+ly)? (?:assessed|evaluated)",
)

_OTHER_SIDE = r"(?:on|in|at) (?:the )?(?:left|right|other|opposite|contralateral)"
_SIDE_STATE = (
    r"(?:persist(?:s|ed|ent|ing)?|remain(?:s|ed|ing)?|unchanged|stable|larger|smaller|increased|still|small|trace|tiny|"
    r"moderate|large|mild)"
)

_AFTER_BREAK = r"(?:(?<=[;,:] )|(?<=but )|(?<=and )|(?<=while )|(?<=whereas ))"
ELLIPSES = (
    r"there (?:is|are) (?:still )?(?:only )?(?:an? )?(?:[\w-]+ ){0,3}?one(?! (?:of|or|lung|rib|view))",
    rf"{_OTHER_SIDE}(?: side)? (?:it|this) (?:still )?(?:persists?|remains?)",
    r"one(?= (?:is|remains|persists|seen|in|on|at))",
    rf"(?=[tlr])(?:the )?(?:left|right)(?: side)? (?:is )?{_SIDE_STATE}(?= ?[.,;)]|$)",
    rf"(?=[apstmlr])(?:an? )?(?:still )?(?:present|persist(?:s|ent|ing)|remain(?:s|ing)|small|trace|tiny|moderate|"
    rf"large|mild|minimal|some)(?: seen| present)?(?= {_OTHER_SIDE})",
)
ANAPHORS = (
    r"(?=[ato])(?:an?|the|that|one)(?: (?!no)[\w-]+){0,3} one(?! (?:of|or|lung|rib|view))",
    rf"(?:that|those|the one)(?= {_OTHER_SIDE})",
    rf"(?=[aoiptlrsm]){_AFTER_BREAK}(?:{'|'.join(ELLIPSES)})",
)
"""Words that stand for the last finding, whose noun is left out: "none on the right; a small one on the left"."""

PERSISTING = (r"which (?:still |now )?(?:persists?|remains? (?:present|visible|unchanged|stable|at|in|on))",)
"""The finding before is present, even if "clearing of" denied it."""
LIKEWISE = (r"(?=[hiad])(?:has|have|had|is|are|did|does)(?: \w+)? (?:as well|too|also|likewise)(?= ?[.,;]|$)",)
"""The last finding has the state of the one before it."""

BREAKS = (
    r"but|so(?! that| as)|therefore|however|although|though|whereas|while|nevertheless|yet|despite",
    r"except(?: for)?|aside from|apart from|other than|with the exception of|save for",
)
RELATIVES = (r"which|that(?= (?:has|have|is|are) (?:now |since )?(?:not|no longer|resol|clear|gone))",)
COPULAS = (r"is|are|was|were|appears?|remains?",)
ASSERTIONS = (
    r"there(?: is|'s| are| has been| have been| was| were)",
    r"has|have|had|shows?|demonstrates?|reveals?|represents|representing|reflects|reflecting|indicates?|with|"
    r"containing",
    r"due to|secondary to|given|related to",
)
"""Verbs and prepositions that begin a new assertion and end the negation or hedge before it."""

DEGREES = (
    r"(?:very )?(?:small|mild(?:ly)?|minimal(?:ly)?|tiny|trace|moderate(?:ly)?|severe|marked|slight|stable|unchanged|"
    r"left|right|bilateral|bibasilar|biapical|persistent|again|old|chronic|low|scattered|multiple|healed|healing)",
)
"""After a comma or "and", these begin a new statement instead of continuing a negated list."""
CONJUNCTIONS = (r"and|as well as|plus",)
