"""What the labeler knows of saying no, saying maybe and changing the subject: tables of regular expressions.

Matched as those of `data.labeler_phrases`. A pre-cue decides what follows it, up to the next break or assertion;
a "later" cue decides what stands before it, back to the last one.
"""

NEGATIONS = (
    r"no longer",
    r"(?:do|does|did)(?: not|n't)(?: \w+)? (?:demonstrate|show|reveal|see|have|identify|suggest|appear|represent)"
    r"(?: to have)?",
    r"fail(?:s|ed)? to (?:demonstrate|show|reveal)",
    r"(?:no|without|lack of|absence of)(?: \w+){0,4} (?:evidence|signs?|suggestion|findings?|features?|indications?)"
    r"(?: \w+)? (?:of|for|to suggest|to indicate|suggestive of|suggesting|suspicious for)",
    r"no|without|w/o|none|nor|neither",
    r"neg(?:ative)? for|free (?:of|from)|clear of|devoid of|absence of|lack of|absent|denies|ruled out for",
    r"not",
    r"(?:highly |very )?unlikely(?: to (?:be|represent|reflect))?",
    r"(?:interval |complete )*(?:resolution|clearing|clearance|removal) of",
    r"(?:resolved|cleared)(?= \w+ )",
    r"rather than|instead of",
)

LATER_NEGATIONS = (
    r"(?:is|are|was|were|has been|have been)?(?: ?not| ?no longer)(?: (?!well|fully|completely|optimally|as)\w+)? "
    r"(?:seen|identified|noted|present|visuali[sz]ed|evident|appreciated|demonstrated|detected|observed|found|"
    r"apparent|visible|suggested)",
    r"(?:can ?not|can't|could not) be (?:seen|identified|appreciated|visuali[sz]ed)",
    r"(?:has|have|had|is|are)(?: now| since| subsequently| \w+ly)? (?:resolved|cleared|disappeared)",
    r"(?:resolved|cleared|disappeared)(?= ?[.,;]|$| since| from| on| in)",
    r"(?:is|are|was|were) (?:absent|excluded|ruled out|unlikely(?! to)|negative)",
    r"unlikely(?= ?[.,;]|$)",
    r"(?:has|have) been (?:excluded|ruled out|removed|evacuated)",
)

NOT_NEGATIONS = (
    r"no (?:significant |appreciable |definite |substantial |interval |overall |xxxx |other |major )*"
    r"(?:changes?|increase|decrease|improvement|worsening|difference|progression)"
    r"(?: (?:in|of|to|from)(?: the)?)?",
    r"without (?:\w+ )?(?:changes?|improvement)",
    r"not (?:\w+ )?(?:changed|only|improved)",
    r"no doubt",
    r"(?:has |have |had )?(?:near(?:ly)?|almost|partial(?:ly)?|partly|incomplete(?:ly)?)[ -]"
    r"(?:complete(?:ly)? )?resol\w+(?: of)?",
)
"""They begin like a negation but deny no finding ("no change in the effusion")."""

UNCERTAIN_DESPITE_NEGATION = (
    r"(?:can ?not|can't|could not|unable to|difficult to|hard to|not possible to|does not|do not|doesn't)"
    r"(?: \w+){0,2} (?:exclude|rule out|r/o)",
    r"(?:not|without)(?: \w+)? (?:excluding|ruling out)",
    r"to (?:exclude|rule out)(?: the possibility of)?",
)

HEDGES = (
    r"(?:possible|probable|likely|possibly|probably)(?: that)? there (?:is|are)",
    r"(?:(?:most|more|less)[ -])?(?:likely|probably|possibly|perhaps|may|might|could)(?: also| well| still| not)*"
    r"(?: (?:be|have|represent(?:s|ing)?|reflect(?:s|ing)?|indicat(?:e|es|ing)|suggest(?:s|ing)?|due to|related to|"
    r"secondary to|is|are|relate to))+",
    r"(?:most |more |less )?likely",
    r"may|might|could",
    r"poss?ib(?:le|ly|ility)(?: of)?|probab(?:le|ly)|potential(?:ly)?|presum\w+|perhaps|equivocal",
    r"questionab(?:le|ly)|suspected|question(?: of)?|doubt\w*",
    r"suspicious for|suspicion (?:of|for)|concern(?:ing)? (?:for|of)|worrisome for",
    r"raises?(?: the)? (?:possibility|question|concern)(?: \w+)?",
    r"suggest(?:s|ive of|ive|ing|ion of|ed)?",
    r"favor(?:s|ed)?(?: to represent)?",
    r"if any",
    r"differential(?: \w+){0,2} (?:includes?|is|are|for)(?: \w+ and includes)?",
    r"differential",
)

LATER_HEDGES = (
    r"(?:can ?not|can't|could not)(?: \w+)? be(?: \w+)? (?:excluded|ruled out)",
    r"(?:is|are|has|have)? ?not(?: been)?(?: \w+)? (?:excluded|ruled out)",
    r"(?:is|are)(?: also)? (?:possible|suspected|questioned|questionable|likely|probable|suggested|less likely|favored|"
    r"considered|(?:a )?(?:consideration|possibility|possibilities))",
    r"(?:should|could|may|might|can|would) (?:also )?be (?:considered|present|excluded)",
    r"less likely(?= ?[.,;]|$)",
    r"(?:is|are) in the differential",
)

ALTERNATIVES = (r"or|and/or|versus|vs",)
"""Between two findings that are not denied, these leave both open."""

IGNORED_CONTEXTS = (
    r"(?:with )?(?:a |known |past |previous |prior )*(?:medical |surgical )?(?:history|hx|h/o) (?:of|for)?",
    r"(?:evaluat(?:e|ion)|assess|check|concern|indication|eval) (?:for|of)|r/o|rule out",
    r"follow[- ]?up (?:of|for)",
    r"(?:correlation|correlate|correlated|recommend\w*|consider)(?: \w+){0,3} (?:for|with)",
    r"(?:ensure|document)(?:s|ing)? (?:\w+ )?resolution",
    r"(?:could|may) obscure|obscures?|limits? (?:evaluation|detection) (?:of|for)",
)
"""What follows is history, a question or advice, not something seen."""

LATER_IGNORED = (r"(?:may|might|could) not be (?:demonstrated|seen|visible|apparent|evident)",)

BREAKS = (
    r"but|however|although|though|whereas|while|nevertheless|yet|which",
    r"except(?: for)?|aside from|apart from|other than",
)
COPULAS = (r"is|are|was|were|appears?|remains?",)
ASSERTIONS = (
    r"there(?: is|'s| are| has been| have been| was| were)",
    r"has|have|had|shows?|demonstrates?|reveals?|represents|representing|reflects|reflecting|indicates?|with|containing",
    r"due to|secondary to|given|related to",
)
"""A verb or preposition after which a new thing is asserted: what was denied or hedged before it ends there."""

DEGREES = (
    r"(?:very )?(?:small|mild(?:ly)?|minimal(?:ly)?|tiny|trace|moderate(?:ly)?|severe|marked|slight|stable|unchanged|"
    r"left|right|bilateral|bibasilar|biapical|persistent|again|old|chronic|status|low|scattered|multiple)",
)
"""Behind a comma or "and", the start of a new statement rather than one more thing denied."""
CONJUNCTIONS = (r"and|as well as|plus",)
