"""Tables of regular expressions for findings, anatomical structures and their states.

`parser` matches them in lower case with single spaces, at word boundaries. Tables are in order of precedence: where two
match at the same place the earlier wins, so longer and rarer phrases come first. Groups must not capture. The words of
each finding follow CheXpert (Irvin et al. 2019), with misspellings found in real reports; `xxxx` is a word that was
removed from the Indiana reports."""

NAMES_NOTHING = (
    r"pericardial (?:effusions?|fluid|thickening)",
    r"(?:joint|knee|elbow|ankle) effusions?",
    r"mass effect",
    r"(?:bone|bony|mineral|breast|metallic|osseous|contrast|tubular|fat|low)(?: mineral)? densit(?:y|ies)",
    r"(?:bony|osseous|bone|rib|vertebral) (?:opacit\w+|nodules?|mass(?:es)?|lesions?|metasta\w+)",
    r"(?:calcified|calcific) densit(?:y|ies)(?! nodul)",
    r"(?:breast|abdominal|renal|hepatic|thyroid|liver|adrenal|pericardial|(?:chest )?wall|muscle|lean body)"
    r" (?:mass(?:es)?|nodules?|cancer|carcinoma)",
    r"(?:history of |known ){0,2}primary malignancy",
    r"(?:vertebral|vertebra|compression|endplate|wedge)(?: body)? (?:collapse|deformity|deformities)",
    r"(?:soft tissue|subcutaneous|peripheral|leg|cerebral|extremity) edema",
    r"(?:thoracic|pleural|chest|abdominal|oral) cavit(?:y|ies)",
    r"(?:trachea|airways?) (?:is|are) midline",
    r"(?:prior|previous|old|remote|healed|past)(?: \w+){0,2} (?:infections?|pneumonia)",
    r"heart (?:attack|disease|rate|block|transplant)",
    r"(?:lung|interstitial lung) (?:disease|transplant)",
    r"(?:renal|respiratory|liver|hepatic|treatment|hardware) failure",
    r"fracture[ds]?(?= (?:(?:of|in|through|the|a|an|one|left|right|most|superior-most|superior|inferior|central|venous|"
    r"xxxx|sternal) ){0,5}(?:wires?|sternotomy|leads?|catheters?|screws?|rods?|lines?|tubes?)\b)",
    r"chest port(?:able)?(?=[,.]| (?:1|one|single|view|ap|x))",
    r"(?:consistent|compatible|associated|along|in keeping) with",
    r"(?:rib|costal) cartilages?",
    r"(?:nasal|sinus|hepatic|bowel) congestion",
    r"(?:infection|fluid) (?:control|level)s?",
    r"(?:obscured|hidden|masked|silhouetted|effaced|displaced|shifted|deviated|pushed|compressed|accentuated|exaggerated)"
    r"(?: to the (?:left|right))? by (?:an? |the )?(?:\w+ )?(?:large|enlarged|enlarging|big|increased|prominent)",
)
"""Phrases that look like a finding or a boundary but are not; skipped."""

MENTIONS = {
    ("Pneumothorax", "Pleural Effusion"): (r"h(?:ydro|emo|aemo)pneumoth\w+",),
    ("Pneumothorax",): (r"pn(?:eu|ue|e|u)mo-?t\w*", r"pneumonothora\w+", r"ptxs?", r"pleural air"),
    ("Pleural Effusion",): (
        r"(?:pleural |subpulmonic |parapneumonic |pleural space )?eff+us+i?ons?",
        r"pleural (?:space )?fluid",
        r"fluid in the pleural spaces?",
        r"(?:ha?emo|hydro|chylo)thora\w+",
        r"(?:fluid|effusion) in the (?:\w+ )?fissures?|fissural fluid",
        r"empyema",
    ),
    ("Pleural Other",): (
        r"(?:pleural|pleuro-?parenchymal|pleural-(?:parenchymal|peripheral))(?: \w+)? "
        r"(?:thick|scar|plaqu|fibros|calcif|mass|irregular)\w*",
        r"(?:thicken\w*|scarring|calcif\w+|plaques?) of the (?:\w+ )?pleura\w*",
        r"thickened pleura",
        r"(?:calcified|pleural) plaques?",
        r"(?:fissural|pleural) thickening",
        r"apical(?: pleural)? cap(?:ping|s)?",
        r"(?:fibronodular )?thickening of the (?:\w+ )?fissures?",
        r"fibrothorax",
    ),
    ("Lung Lesion",): (
        r"nodular(?:[ -]like)?(?: \w+){0,3} (?:densit|opaci)\w+",
        r"(?:micro)?nodul(?:es?|arity)",
        r"(?:cavitary|cavitating|lung|pulmonary|spiculated|suspicious|parenchymal) lesions?",
        r"cavit(?:y|ies|ation|ations)",
        r"mass(?:es)?(?:[ -]like (?:densit|opaci|consolidat)\w+)?",
        r"tumou?rs?|neoplas\w+|carcinoma|(?:lung|pulmonary|parenchymal) (?:malignanc\w+|metasta\w+)",
        r"metasta\w+(?: \w+)? (?:to|in)(?: the)? lungs?|(?:pulmonary|lung) cancer",
    ),
    ("Edema",): (
        r"(?:pulmonary |interstitial |alveolar |airspace ){0,3}o?edema(?:tous)?",
        r"(?:congestive )?(?:heart|cardiac) failure",
        r"(?:congestive|acute|overt|decompensated) failure|(?<=evidence of )failure|(?<=signs of )failure",
        r"chf",
        r"(?:fluid|volume|pulmonary vascular) overload",
    ),
    ("Consolidation",): (r"(?:(?:air ?-?space|alveolar|lobar|focal) ){0,3}(?:opacity/)?consoli?dat\w+",),
    ("Pneumonia",): (
        r"(?:broncho)?pn[eu]+monia[es]?",
        r"pna",
        r"infect(?:ions?|ious (?:process|processes|etiology|etiologies|infiltrates?|disease|opacit\w+))",
    ),
    ("Atelectasis",): (
        r"at+[ae]l[ae]ct\w*",
        r"(?:lobar |lung |complete |partial ){0,3}collapsed?",
    ),
    ("Lung Opacity",): (
        r"(?:(?:air|lung) ?-?space|alveolar|parenchymal|interstitial|ground[ -]glass)? ?opa[cs]i(?:t|f)\w+",
        r"(?:air ?-?space|alveolar) (?:disease|process|densit\w+)",
        r"infil[it]*trat\w*",
        r"(?:increased|increasing|hazy|patchy|streaky|vague|focal|ill-defined|linear|basilar|basal|asymmetric|"
        r"soft tissue|retrocardiac|pulmonary|perihilar|suprahilar|infrahilar|midlung|(?:lower|upper) lobe|lingular)"
        r" densit\w+",
        r"densit(?:y|ies)(?= (?:\w+ ){0,6}(?:lungs?|lobe|lingula|base|bases|midlung|apex)\b)",
        r"haz(?:y|iness)",
        r"ground[ -]glass",
        r"reticula(?:r|tions?)(?: pattern| densit\w+| changes?)?",
        r"reticulonodular \w+",
        r"(?:increased|prominent|coarse\w*|thickened|accentuated|abnormal)(?: \w+){0,2} interstiti(?:al|um)"
        r"(?: markings?| pattern| lines)?",
        r"(?:prominence|increase|coarsening|accentuation) (?:of|in)(?: the)?(?: \w+)? interstiti(?:al|um)"
        r"(?: markings?)?",
        r"(?<!normal )interstiti(?:al|um)(?: lung)? (?:markings?|accentuation)"
        r"(?! (?:is|are|appears?|remains?) (?:\w+ )?(?:normal|within|unremarkable))",
        r"(?:increased?|prominent|coarse\w*)(?: \w+){0,2} (?:lung|pulmonary|perihilar|bronchovascular) markings",
        r"interstitial (?:prominence|thickening|infiltrat\w+|changes?|pattern)",
        r"peribronchial (?:cuffing|thickening)",
    ),
    ("Cardiomegaly",): (
        r"cardiom[ae]g[ae]ll?[yi]\w*",
        r"(?:cardiac|heart) (?:enlargement|prominence)",
    ),
    ("Enlarged Cardiomediastinum",): (
        r"(?:cardio-?)?mediastinal (?:widening|enlargement|prominence)",
        r"wide mediastinum",
    ),
    ("Fracture",): (r"(?:micro)?fra?cture?[sd]?", r"fx"),
    ("Support Devices",): (
        r"(?:(?:central|venous|picc|pacemaker|sternotomy|sternal) ){0,3}(?:catheter|wires?|leads?|line|tube|"
        r"hardware|screw|rod) fractures?",
        r"(?:endotracheal|tracheostomy|nasogastric|orogastric|enteric|feeding|chest|gastric|drainage|pleural|ng|og|et)"
        r"(?: \w+)? (?:tub(?:e|es|ing)|drains?|catheters?)",
        r"(?:thoracostomy|nasoenteric|dobbhoff|pigtail)(?: \w+)? (?:tub(?:e|es|ing)|drains?|catheters?)",
        r"(?:ett|ngt|ogt|picc|aicd|icd|iabp|ecmo)s?(?: lines?| catheters?| tips?)?",
        r"(?:central|venous|subclavian|jugular|ij|arterial|dialysis|hickman|port|infusion|pic)"
        r"(?: venous| jugular| vein| access){0,3} (?:lines?|catheters?|cath)",
        r"catheters?|cannulas?",
        r"(?:port-?a-?cath|portacath|media?port|infuse-?a-?port|chest port|power ?port|xxxx-a-xxxx)s?",
        r"tip (?:\w+ ){1,6}(?:svc|cavoatrial|caval|right atrium|vena cava)",
        r"(?:pace ?-?maker|pacer|defib\w+|pulse generator|generator)s?",
        r"(?:support|monitoring|implanted|implantable|medical|assist|cardiac|electronic|closure) "
        r"(?:devices?|apparatus|hardware|leads)",
        r"support (?:lines|tubes)",
        r"(?:lines?|tubes?|devices?)(?:(?: and |, ?|/| or )(?:lines?|tubes?|drains?|catheters?|devices?)){0,3}(?= ?:)",
        r"lines and tubes|tubes and lines",
        r"(?:sternotomy|sternal|cerclage) (?:wires?|sutures?|xxxx)",
        r"(?:pacing|pacemaker|monitor(?:ing)?|ekg|ecg|av|dual|biventricular|overlying|cardiac|distal)"
        r" (?:leads?|wires?)",
        r"(?:clips?|staples?|sutures?|suture (?:material|line)|anastomotic line)(?! (?:of|from) (?:the )?film)",
        r"(?:spine|spinal|cervical|lumbar|thoracic|anterior|posterior)(?: \w+)? fusion(?: hardware| xxxx)?",
        r"internal fixation",
        r"(?:fixation|orthopedic|surgical)? ?(?:screws|rods|plates)|(?:fixation|surgical) (?:plate|rod|screw|xxxx)",
        r"swan[ -]ganz(?: \w+)?|(?:ivc|vena cava) filter|(?:neuro)?stimulators?|(?:septal )?occluder",
        r"annuloplasty(?: ring)?",
        r"lvad|impella|dobb?hoff|loop recorder|(?:embolization )?coils|(?:generator|electrode)s?|cabg markers",
        r"(?:prosthetic|mechanical|artificial|aortic|mitral|heart|cardiac) (?:\w+ )?valves?"
        r"(?: replacements?| prosthes\w+)|(?:prosthetic|mechanical|artificial) (?:\w+ )?valves?",
        r"valve (?:replacement|prosthesis)",
        r"(?:(?:orthopedic|surgical|spinal|fixation|metallic) )?hardware|arthroplast\w+|prosthe\w+|bone anchors?",
        r"(?:intra-?aortic )?balloon pumps?",
        r"stents?|(?:shunt |catheter )?tubing|tracheostomy|tubes?|lines and tubes|chest drains?",
    ),
}
"""Findings and the words that assert them unless something denies or hedges."""

NEIGHBORS = (
    r"(?:parenchymal |pleural )?scar(?:s|ring)?|(?:calcified )?granulomas?|fibrosis|artifacts?|contusion|hemorrhage",
    r"(?:bronchovascular|vascular) crowding|summation|nipple shadows?|fat pad|lymph ?nodes?|(?:lymph)?adenopathy",
    r"aspiration|bronchitis|bronchiectasis|emphysema",
)
"""Other conditions that appear in lists with the 14 findings: "scarring or atelectasis"."""

SUSPECT_MENTIONS = {
    ("Edema",): (
        r"(?:pulmonary |central ){0,2}(?:venous |vascular |vasculature )?congesti(?:on|ve changes?)",
        r"vascul(?:ar|arity|ature) (?:prominence|redistribution|cephalization|indistinctness)",
        r"prominen(?:t|ce of)(?: the)?(?: central| pulmonary){0,2} vascul(?:arity|ature)",
        r"cephalization",
    ),
}
"""Words that only suggest a finding, after CheXpert; if they are denied, the finding is denied."""

STRUCTURES = {
    ("Cardiomegaly", "Enlarged Cardiomediastinum"): (
        r"cardio ?-?(?:pulmonary )?-?(?:and )?mediastinal?(?: \w+)? ?"
        r"(?:silhouettes?|contours?|structures?|size|shadow|outlines?)?",
        r"cardiac/mediastinal (?:silhouettes?|contours?)",
        r"heart/mediastinum(?: contours?)?",
    ),
    ("Cardiomegaly",): (
        r"(?:heart|cardiac|cardial)(?:/\w+)? (?:silhouettes?|contours?|size|shadow|borders?|outlines?|configuration)"
        r"(?: size)?",
        r"hearts?(?! and lungs have)",
        r"cardiac(?= and mediastin| mediastin|, mediastin| and hilar)",
    ),
    ("Enlarged Cardiomediastinum",): (
        r"(?:superior |anterior )?mediastin(?:um|al(?:(?: and|/) ?(?:hilar|cardiac))?(?: (?:contours?|silhouettes?|"
        r"structures?|size|shadow|borders?|width|xxxx)){1,2})",
        r"mediastinal(?= and hilar|, hilar)",
    ),
    ("Lung Opacity",): (
        r"lungs(?: (?:fields?|zones?|parenchyma))?",
        r"lung (?:fields|zones|parenchyma)",
        r"pulmonary parenchyma",
        r"interstitial markings|interstitium",
        r"(?:right|left|remaining) lung(?: fields?| zones?)?(?= (?:(?:is|are|remains?|appears?)(?: \w+)? )?clear)",
        r"(?<=clear )(?:right|left|remaining) lung",
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
        r"(?:thoracic |descending |ascending |tortuous ){0,3}aort(?:a|ic)(?: (?:arch|knob|root|contours?|xxxx))?",
        r"(?:pulmonary )?(?:vascularity|vasculature|vessels|vascular markings|arter\w+|vascular|xxxx)",
        r"(?:pulmonary )?hil(?:a|um|ar)(?: (?:contours?|structures?|shadows?))?",
        r"(?:thoracic |lumbar )?(?:spine|vertebra\w*)",
        r"(?:soft tissues?|abdomen|trachea|diaphragms?|hemidiaphragms?|thyroid|spleen|stomach)",
        r"(?:left|right) (?:ventricle|atrium|atrial|ventricular)",
        r"lung volumes?",
    ),
}
"""Structures and the findings that their states decide; the last ones (no findings) only absorb states."""

NORMAL_STATES = {
    (): (
        r"(?:with)?in (?:the )?(?:normal limits?|limits? of normal)",
        r"(?:upper |within ){0,2}(?:limits?|normal) (?:of |for )?(?:normal|limits?)",
        r"top[- ](?:of[- ])?normal(?: limits?)?|upper normal",
        r"normal(?:ly)?(?! (?:inflat|expan|aerat|variant|saline))",
        r"unremarkable",
        r"not (?:\w+ )?(?:enlarged|remarkable|prominent|widened|wide|dilated|broadened)",
        r"(?:reveal|show|demonstrate|have)s? no (?:\w+ ){0,2}(?:abnormalit(?:y|ies))",
        r"(?:is|are) negative",
        r"non-?enlarged",
        r"wnl",
    ),
    ("Lung Opacity", "Pleural Effusion"): (r"clear(?! of\b)",),
    ("Pleural Effusion",): (r"sharp\w*", r"preserved", r"well[- ]?(?:seen|defined|maintained)"),
    ("Fracture",): (r"intact",),
}
"""States that deny the finding of a structure: of every structure (), or only of the named findings."""

ABNORMAL_STATES = {
    ("Cardiomegaly", "Enlarged Cardiomediastinum"): (
        r"above (?:the )?(?:upper limits? of )?normal(?: limits?)?",
        r"enlarged|enlargement|enlarging|large|big|increased?|prominent|prominence|dilated",
    ),
    ("Enlarged Cardiomediastinum",): (r"wide|widened|widening|widens|broad\w*",),
}
"""States that assert the finding of a structure, if it is one of the named findings."""

BORDERLINE_STATES = (
    r"(?:(?:at|the|upper|top|within|high|limits?|of|for|normal)[ -]){1,6}(?:or|to|versus|vs)(?: \w+)?"
    r" (?:enlarged|large|increased|prominent|cardiomegaly|borderline)",
    r"borderline(?: \w+)? (?:enlarged|large|increased|prominent)",
    r"borderline",
)
