"""What the labeler knows of radiologists' language: tables of regular expressions, read by `data.labeler`.

Sentences are matched in lower case with single spaces. Tables stand in order of precedence: where two match at
the same place the earlier wins, so longer and rarer wordings come first. Groups must not capture.
Which words count for which finding follows CheXpert (Irvin et al. 2019, appendix), with misspellings met in
the Indiana reports.
"""

NAMES_NOTHING = (
    r"pericardial (?:effusions?|fluid|thickening)",
    r"(?:joint|knee|elbow|ankle) effusions?",
    r"mass effect",
    r"(?:bone|bony|mineral|breast|metallic|osseous|contrast) (?:mineral )?densit(?:y|ies)",
    r"low density",
    r"(?:calcified|calcific) densit(?:y|ies)",
    r"(?:breast|abdominal|renal|hepatic|thyroid|liver|adrenal) (?:mass(?:es)?|nodules?)",
    r"(?:vertebral|vertebra|compression|endplate|wedge)(?: body)? (?:collapse|deformity|deformities)",
    r"(?:soft tissue|subcutaneous|peripheral|leg|cerebral|extremity) edema",
    r"(?:trachea|airways?) (?:is|are) midline",
    r"(?:mid|pleural |costal |shore|mediastinal |fissural |base)lines?",
    r"support(?:s|ed|ing|ive)?\b(?! (?:devices?|lines?|tubes?|apparatus|hardware))",
    r"heart (?:attack|disease|rate|block|transplant)",
    r"(?:lung|interstitial lung) (?:disease|cancer|transplant)",
    r"(?:consistent|compatible|associated|along|in keeping) with",
    r"(?:rib|costal) cartilages?",
    r"infectious? disease clinic",
)
"""Words that would be mistaken for a finding, or for a boundary; skipped."""

MENTIONS = {
    ("Pneumothorax", "Pleural Effusion"): (r"h(?:ydro|emo|aemo)pneumoth\w+",),
    ("Pneumothorax",): (
        r"pneumo-?th?oro?\w*",
        r"pneumonothora\w+",
        r"pneumothr?a?\w*",
        r"ptx",
        r"pneumos?(?= or | and |\W*$)",
    ),
    ("Pleural Effusion",): (
        r"(?:pleural |subpulmonic |parapneumonic |pleural space )?eff+us+i?ons?",
        r"pleural (?:space )?fluid",
        r"fluid in the pleural spaces?",
        r"h[ea]*mothora\w+",
        r"empyema",
    ),
    ("Pleural Other",): (
        r"(?:pleural|pleuro-?parenchymal|pleural-parenchymal|pleural (?:and|/) parenchymal)(?: \w+)? (?:thick\w+|scar\w*|plaqu\w*|fibros\w+|calcif\w+|mass\w*)",
        r"(?:thicken\w*|scarring|calcif\w+|plaques?) of the (?:\w+ )?pleura\w*",
        r"thickened pleura",
        r"calcified plaques?",
        r"pleural plaques?",
        r"apical cap(?:ping|s)?",
        r"fibrothorax",
    ),
    ("Lung Lesion",): (
        r"nodular(?:[ -]like)?(?: \w+)? (?:densit|opaci)\w+",
        r"(?:micro)?nodul(?:es?|arity)",
        r"(?:cavitary|cavitating|lung|pulmonary|spiculated|suspicious) lesions?",
        r"cavit(?:y|ies|ation|ations)",
        r"mass(?:es)?(?:[ -]like (?:densit|opaci|consolidat)\w+)?",
        r"tumou?rs?",
        r"neoplas\w+",
        r"carcinoma",
        r"malignancy",
        r"metasta\w+",
    ),
    ("Edema",): (
        r"(?:pulmonary |interstitial |alveolar |airspace )*o?edema",
        r"(?:congestive )?(?:heart|cardiac) failure",
        r"congestive failure",
        r"chf",
        r"(?:(?:pulmonary|central|mild)? ?(?:venous|vascular|vasculature|vein)|pulmonary) (?:congesti\w+|overload)",
        r"(?:fluid|volume) overload",
        r"congestive changes?",
    ),
    ("Consolidation",): (r"(?:(?:airspace|air space|air-space|alveolar|lobar|focal) )*(?:opacity/)?consoli?dat\w+",),
    ("Pneumonia",): (
        r"(?:broncho)?pn[eu]+monia[es]?",
        r"pnuemonia",
        r"infect(?:ions?|ious (?:process|processes|etiology|infiltrates?|disease|opacit\w+))",
    ),
    ("Atelectasis",): (
        r"at+[ae]l[ae]ct\w*",
        r"(?:lobar |lung |complete |partial )*collapsed?",
    ),
    ("Lung Opacity",): (
        r"(?:(?:air|lung) ?-?space|alveolar|parenchymal|interstitial|ground[ -]glass)? ?opa[cs]i(?:t|f)\w+",
        r"(?:air ?-?space|alveolar) (?:disease|process|densit\w+)",
        r"infil[it]*trat\w*",
        r"(?:increased|hazy|patchy|streaky|vague|focal|ill-defined|linear|basilar|asymmetric|soft tissue) densit(?:y|ies)",
        r"haz[yi]\w*",
        r"ground[ -]glass",
        r"reticula(?:r|tion|tions)(?: pattern| densit\w+| changes?)?",
        r"reticulonodular \w+",
        r"(?:increased|prominent|coarse\w*|prominence of the|thickened|accentuated|abnormal)(?: \w+){0,2} interstiti(?:al|um)(?: markings?| pattern| lines)?",
        r"interstitial (?:prominence|thickening|infiltrat\w+|changes?|pattern)",
        r"peribronchial (?:cuffing|thickening)",
    ),
    ("Cardiomegaly",): (
        r"cardiom[ae]g[ae]ll?[yi]\w*",
        r"(?:cardiac|heart) (?:enlargement|prominence)",
        r"megacardia",
    ),
    ("Enlarged Cardiomediastinum",): (
        r"mediastinal (?:widening|enlargement|prominence)",
        r"(?:cardiomediastinal|cardio-mediastinal) (?:widening|enlargement)",
        r"wide mediastinum",
    ),
    ("Fracture",): (r"(?:micro)?fra?cture?[sd]?", r"fx"),
    ("Support Devices",): (
        r"(?:endotracheal|tracheostomy|nasogastric|orogastric|enteric|feeding|chest|gastric|drainage|pleural|thoracostomy|ng|og|et|nasoenteric|dobbhoff|pigtail)(?: \w+)? (?:tub(?:e|es|ing)|drains?|catheters?)",
        r"(?:ett|ngt|ogt|picc|pics?c|aicd|icd|iabp|ecmo)s?(?: lines?| catheters?| tips?)?",
        r"(?:central|venous|subclavian|jugular|ij|picc|arterial|dialysis|hickman|port|infusion|pic|internal jugular)(?: venous| jugular| vein| access)* (?:lines?|catheters?|cath)",
        r"catheters?",
        r"(?:port-?a-?cath|portacath|media?port|infuse-?a-?port|chest port|porta? ?catheter|power ?port)s?",
        r"(?:pace ?-?maker|pacer|defib\w+|pulse generator|generator)s?",
        r"(?:support|monitoring|implanted|medical|assist|cardiac|electronic|stimulator|implantable) (?:devices?|apparatus|hardware|leads)",
        r"support (?:lines|tubes)",
        r"(?:lines|tubes) and (?:lines|tubes)",
        r"(?:sternotomy|sternal|cerclage|median sternotomy) (?:wires?|sutures?)",
        r"(?:pacing|pacemaker|monitor|ekg|ecg|av|dual|biventricular) (?:leads?|wires?)",
        r"(?:prosthetic|mechanical|aortic|mitral|artificial|heart|cardiac) valves?(?: replacement| prosthes\w+)",
        r"(?:prosthetic|mechanical|artificial) (?:\w+ )?valves?",
        r"valve (?:replacement|prosthesis)",
        r"(?:orthopedic|surgical|spinal|fixation|metallic) hardware",
        r"(?:intra-?aortic )?balloon pumps?",
        r"stents?",
        r"tracheostomy",
        r"tubes?",
    ),
}
"""Findings and the words that state them when nothing denies or hedges."""

STRUCTURES = {
    ("Cardiomegaly", "Enlarged Cardiomediastinum"): (
        r"cardio ?-?(?:pulmonary )?-?(?:and )?mediastinal?(?: \w+)? ?(?:silhouettes?|contours?|structures?|size|shadow|outlines?)?",
        r"cardiac/mediastinal (?:silhouettes?|contours?)",
        r"(?:heart/mediastinum|heart/mediastinal contours?)",
    ),
    ("Cardiomegaly",): (
        r"(?:heart|cardiac|cardial)(?:/\w+)? (?:silhouettes?|contours?|size|shadow|borders?|outlines?|configuration)(?: size)?",
        r"hearts?(?! (?:and lungs have))",
        r"cardiac(?= and mediastin| mediastin|, mediastin| and hilar)",
        r"(?:size|configuration) of the (?:heart|cardiac silhouette)",
    ),
    ("Enlarged Cardiomediastinum",): (
        r"(?:superior |anterior )?mediastin(?:um|al)(?: and hilar| and cardiac| structures?)?(?: contours?| silhouettes?| structures?| size| shadow| borders?| width)*",
        r"mediastinal?",
    ),
    ("Lung Opacity",): (
        r"lungs(?: (?:fields?|zones?|parenchyma))?",
        r"lung (?:fields|zones|parenchyma)",
        r"pulmonary parenchyma",
        r"interstitial markings",
        r"interstitium",
    ),
    ("Pleural Effusion",): (
        r"costophr?enic (?:angles?|sulc(?:us|i)|recess(?:es)?|xxxx)",
        r"cp angles?",
        r"pleural (?:spaces?|surfaces?|recess(?:es)?)",
    ),
    ("Fracture",): (
        r"(?:osseous|bony|skeletal)(?: \w+)? (?:structures?|thorax|elements|skeleton)(?: of the \w+)?",
        r"(?:thoracic )?(?:bones?|ribs|clavicles?|skeleton)",
    ),
    (): (
        r"(?:thoracic |descending |ascending |tortuous )*aort(?:a|ic)(?: (?:arch|knob|root|contours?|xxxx))?",
        r"(?:pulmonary )?(?:vascularity|vasculature|vessels|vascular markings|arter\w+|vascular|hila\w*|xxxx)",
        r"hil(?:a|um|ar)(?: (?:contours?|structures?|shadows?))?",
        r"(?:thoracic |lumbar )?(?:spine|vertebra\w*)",
        r"(?:soft tissues?|abdomen|trachea|diaphragms?|hemidiaphragms?|thyroid|spleen|stomach)",
        r"(?:left|right) (?:ventricle|atrium|atrial|ventricular)",
        r"lung volumes?",
    ),
}
"""Structures and the findings that a word of state about them decides; the last only take up such words."""

NORMAL_STATES = {
    (): (
        r"(?:with)?in (?:the )?(?:normal limits?|limits? of normal)",
        r"(?:upper |within )*limits? (?:of|for) normal",
        r"top[- ]normal",
        r"normal(?:ly)?(?! (?:inflat|expan|aerat|variant|saline))",
        r"unremarkable",
        r"not (?:\w+ )?(?:enlarged|remarkable|prominent|widened|wide|increased)",
        r"non-?enlarged",
        r"wnl",
    ),
    ("Lung Opacity", "Pleural Effusion"): (r"clear(?! of\b)",),
    ("Pleural Effusion",): (r"sharp\w*", r"preserved", r"well[- ]?(?:seen|defined|maintained)"),
    ("Fracture",): (r"intact",),
}
"""States that deny the structure's finding: for every structure (), or only where it is one of those named."""

ABNORMAL_STATES = {
    ("Cardiomegaly", "Enlarged Cardiomediastinum"): (
        r"enlarged|enlargement|large|big|increased|prominent|prominence|dilated",
    ),
    ("Enlarged Cardiomediastinum",): (r"wide|widened|widening|widens|broad\w*",),
}
"""States that assert the structure's finding, where it is one of those named."""
BORDERLINE_STATES = (r"borderline",)

NEGATIONS = (
    r"no longer",
    r"(?:do|does|did)(?: not|n't)(?: \w+)? (?:demonstrate|show|reveal|see|have|identify|suggest|appear|represent)(?: to have)?",
    r"(?:no|without|lack of|absence of)(?: \w+){0,4} (?:evidence|signs?|suggestion|findings?|features?|indications?)(?: \w+)? (?:of|for|to suggest|to indicate|suggestive of|suggesting|suspicious for)",
    r"no|without|w/o|none|nor|neither",
    r"negative for|free (?:of|from)|clear of|devoid of|absence of|lack of|absent|denies|ruled out for",
    r"not",
    r"(?:interval |near(?:ly)?[ -]?complete |complete )*(?:resolution|clearing|clearance) of",
    r"(?:resolved|cleared)(?= \w+ )",
    r"rather than|instead of",
)
LATER_NEGATIONS = (
    r"(?:is|are|was|were|has been|have been|can)?(?: ?not| no longer)(?: \w+)? (?:seen|identified|noted|present|visuali[sz]ed|evident|appreciated|demonstrated|detected|observed|found|apparent|visible|suggested)",
    r"(?:has|have|had|is|are)?(?: now| since| subsequently| \w+ly)? ?(?:resolved|cleared|disappeared)(?: in the interval)?(?= ?[.,;]|$| since| from| on| in)",
    r"(?:is|are|was|were) (?:absent|excluded|ruled out|unlikely|no longer \w+|negative)",
    r"unlikely",
    r"(?:has|have) been (?:excluded|ruled out|removed|evacuated)",
)
NOT_NEGATIONS = (
    r"no (?:significant |appreciable |definite |substantial |interval |overall |xxxx |other |major )*(?:interval )?(?:changes?|increase|decrease|improvement|worsening|difference|progression)(?: (?:in|of|to|from)(?: the)?)?",
    r"without (?:\w+ )?(?:changes?|improvement)",
    r"not (?:\w+ )?(?:changed|only|improved)",
    r"no doubt",
    r"cannot be better",
)

UNCERTAIN_DESPITE_NEGATION = (
    r"(?:can ?not|can't|could not|unable to|difficult to|hard to|not possible to|does not|do not|doesn't)(?: \w+){0,2} (?:exclude|rule out|r/o)",
    r"(?:not|without)(?: \w+)? (?:excluding|ruling out)",
    r"no definite evidence to exclude",
    r"to (?:exclude|rule out)(?: the possibility of)?",
)
HEDGES = (
    r"(?:possible|probable|likely|possibly|probably)(?: that)? there (?:is|are)",
    r"(?:(?:most|more|less)[ -])?(?:likely|probably|possibly|perhaps|may|might|could|can|would|question\w*|possib\w+)(?: also| well| still| not)*(?: (?:be|have|represent(?:s|ing)?|reflect(?:s|ing)?|indicat(?:e|es|ing)|suggest(?:s|ing)?|due to|related to|secondary to|is|are|relate to))+",
    r"(?:most |more |less )?likely",
    r"may|might|could",
    r"poss?ib(?:le|ly|ility)(?: of)?|probab(?:le|ly)|potential(?:ly)?|presum\w+|perhaps|equivocal|questionab(?:le|ly)|suspected",
    r"question(?: of)?",
    r"suspicious for|suspicion (?:of|for)|concern(?:ing)? (?:for|of)|worrisome for|raises?(?: the)? (?:possibility|question|concern)(?: \w+)?",
    r"suggest(?:s|ive of|ive|ing|ion of|ed)?",
    r"favor(?:s|ed)?(?: to represent)?",
    r"differential",
    r"cannot be certain",
)
LATER_HEDGES = (
    r"(?:can ?not|can't|could not)(?: \w+)? be(?: \w+)? (?:excluded|ruled out)",
    r"(?:is|are)? ?not(?: \w+)? (?:excluded|ruled out)",
    r"(?:is|are) (?:also )?(?:possible|suspected|questioned|questionable|likely|probable|suggested|less likely|favored|a consideration|considered|possibilities|a possibility)",
    r"(?:should|could|may|might|can|would) (?:also )?be (?:considered|present|excluded)",
    r"less likely(?= ?[.,;]|$)",
)
ALTERNATIVES = (r"or|and/or|versus|vs",)
"""Between two findings that are not denied, these leave both open."""

IGNORED_CONTEXTS = (
    r"(?:with )?(?:a |known |past |previous |prior )*(?:medical |surgical )?(?:history|hx|h/o) (?:of|for)?",
    r"(?:evaluat(?:e|ion)|assess|r/o|rule out|check|concern|indication|eval)(?: for)",
    r"follow[- ]?up (?:of|for)",
    r"(?:correlation|correlate|correlated|recommend\w*|consider)(?: \w+){0,3} (?:for|with)",
    r"(?:ensure|document)(?:s|ing)? (?:\w+ )?resolution",
    r"could obscure|may obscure|obscures?|limits? (?:evaluation|detection) (?:of|for)",
    r"may not be (?:demonstrated|seen|visible)",
)

BREAKS = (
    r"but|however|although|though|whereas|while|except(?: for)?|aside from|apart from|other than|nevertheless|yet|which",
)
COPULAS = (r"is|are|was|were|appears?|remains?",)
ASSERTIONS = (
    r"there(?: is|'s| are| has been| have been| was| were)",
    r"has|have|had|shows?|demonstrates?|reveals?|represents|representing|reflects|reflecting|indicates?|with|containing",
    r"due to|secondary to|given|related to",
)
"""A verb or preposition after which a new thing is asserted: what was denied or hedged before it ends there."""
DEGREES = (
    r"(?:very )?(?:small|mild(?:ly)?|minimal(?:ly)?|tiny|trace|moderate(?:ly)?|severe|marked|slight|stable|unchanged|left|right|bilateral|bibasilar|biapical|persistent|again|old|chronic|status|low|scattered|multiple)",
)
CONJUNCTIONS = (r"and|as well as|plus",)
