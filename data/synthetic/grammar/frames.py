"""Sentence templates of synthetic reports: statements, denials, normal structures, impressions and indications.

Tables only; `data.synthetic.grammar.report` and `data.synthetic.grammar.sentences` choose from them. In templates, {np}
is the finding with its article ("a small nodule"), {bare} without it, {Bare} at the start of a sentence, and {is} its
verb.
"""

STATED = (
    "There {is} {np}.",
    "There {is} {np}.",
    "{Bare}.",
    "{Bare} {is} seen.",
    "{Bare} {is} present.",
    "{Bare} {is} noted.",
    "{Bare} {is} identified.",
    "The study shows {np}.",
)
UNCERTAIN = (
    "Possible {bare}.",
    "There may be {np}.",
    "Probable {bare}.",
    "Likely {bare}.",
    "{Bare} cannot be excluded.",
    "{Bare} {is} suspected.",
    "Findings may represent {np}.",
    "Findings are suspicious for {np}.",
)
BRIEFLY_UNCERTAIN = ("Possible {bare}.", "Probable {bare}.", "Likely {bare}.", "{Bare} cannot be excluded.")
PAIRED = ("There {is} {first} and {second}.", "{First} and {second}.", "{First} with {second}.")
UNCERTAIN_PAIR = ("Possible {first} or {second}.", "{First} or {second} cannot be excluded.")
EXPLAINED = ("{First} may represent {second}.", "{First}, possibly {second}.", "There {is} {np}, likely {second}.")
"""A certain opacity, and its possible cause."""
WITHOUT = {
    "Cardiomegaly": ("Edema",),
    "Pleural Effusion": ("Pneumothorax",),
    "Fracture": ("Pneumothorax", "Pleural Effusion"),
    "Consolidation": ("Pleural Effusion",),
    "Pneumothorax": ("Pleural Effusion",),
    "Lung Lesion": ("Pleural Effusion",),
}
"""Findings that may be denied in the same sentence: "mild cardiomegaly without pulmonary edema"."""

DENIALS = {
    "Consolidation": (0.7, ("focal consolidation", "consolidation", "airspace consolidation")),
    "Pleural Effusion": (0.85, ("pleural effusion", "effusion")),
    "Pneumothorax": (0.85, ("pneumothorax",)),
    "Edema": (0.4, ("pulmonary edema", "edema")),
    "Pneumonia": (0.15, ("pneumonia",)),
    "Lung Opacity": (0.25, ("focal opacity", "airspace opacity")),
    "Lung Lesion": (0.2, ("nodule", "mass", "suspicious nodule")),
    "Fracture": (0.2, ("fracture", "acute fracture", "rib fracture")),
    "Atelectasis": (0.05, ("atelectasis",)),
}
"""How often an absent finding is denied, and its names in denials."""
DENYING = (
    "No {list}.",
    "There is no {list}.",
    "There is no {list}.",
    "No evidence of {list}.",
    "There is no evidence of {list}.",
    "No {list} is seen.",
    "No {list} is identified.",
    "Negative for {list}.",
)

NORMAL_HEART = (
    "Heart size is normal.",
    "The heart is normal in size.",
    "Cardiac silhouette is normal.",
    "Normal heart size.",
    "The heart is not enlarged.",
)
NORMAL_MEDIASTINUM = (
    "Mediastinal contours are normal.",
    "The mediastinum is unremarkable.",
    "The mediastinum is within normal limits.",
)
NORMAL_BOTH = (
    "The cardiomediastinal silhouette is normal.",
    "Cardiomediastinal silhouette is within normal limits.",
    "Heart size and mediastinal contours are normal.",
    "The heart and mediastinum are normal.",
    "Normal heart size and mediastinal contours.",
    "The cardiomediastinal silhouette is unremarkable.",
)
CLEAR_LUNGS = ("The lungs are clear.", "Lungs are clear.", "Both lungs are clear.", "The lungs are clear bilaterally.")
OTHERWISE_CLEAR_LUNGS = ("The lungs are otherwise clear.", "Otherwise, the lungs are clear.")
SHARP_ANGLES = ("The costophrenic angles are sharp.", "Costophrenic angles are clear.", "The pleural spaces are clear.")
NORMAL_BONES = ("The osseous structures are intact.", "The bones are intact.", "The bones are unremarkable.")
PLAIN_BONES = ("No acute bony abnormality.", "No acute osseous abnormality.")
"""Does not mention fractures."""
NORMAL_VESSELS = ("Pulmonary vascularity is normal.", "The pulmonary vasculature is within normal limits.")
"""Does not mention any of the findings."""

NORMAL_IMPRESSIONS = (
    "No acute cardiopulmonary abnormality.",
    "No acute cardiopulmonary abnormality.",
    "No acute cardiopulmonary disease.",
    "No acute cardiopulmonary process.",
    "No acute disease.",
    "Normal chest.",
    "Normal chest x-ray.",
    "No acute abnormality in the chest.",
)
DEVICE_IMPRESSIONS = (
    "No acute cardiopulmonary abnormality.",
    "Support devices in place. No acute cardiopulmonary abnormality.",
    "No acute disease.",
)
NOTHING_ACUTE = ("No acute cardiopulmonary abnormality.", "No acute disease.")

TECHNIQUES = {
    ("PA", ""): ("PA view of the chest.", "Single frontal view of the chest."),
    ("AP", ""): ("AP view of the chest.", "Portable AP view of the chest.", "Single frontal view of the chest."),
    ("PA", "LATERAL"): ("PA and lateral views of the chest.", "Frontal and lateral views of the chest."),
    ("AP", "LATERAL"): ("AP and lateral views of the chest.", "Frontal and lateral views of the chest."),
}

COMPLAINTS = (
    "chest pain", "shortness of breath", "cough", "fever and cough", "dyspnea", "fever", "hypoxia", "weakness",
    "preoperative evaluation", "fall", "trauma", "line placement", "altered mental status", "abdominal pain",
    "positive TB test", "leukocytosis", "wheezing", "dizziness", "back pain", "weight loss", "hemoptysis",
    "leg swelling",
)  # fmt: skip
LEANINGS = {
    "Edema": ("shortness of breath", "dyspnea", "hypoxia", "leg swelling"),
    "Cardiomegaly": ("shortness of breath", "dyspnea", "chest pain", "leg swelling"),
    "Pneumonia": ("fever and cough", "cough", "fever", "leukocytosis"),
    "Consolidation": ("fever and cough", "cough", "fever", "shortness of breath"),
    "Lung Lesion": ("cough", "weight loss", "hemoptysis"),
    "Pneumothorax": ("chest pain", "shortness of breath", "trauma"),
    "Pleural Effusion": ("shortness of breath", "dyspnea"),
    "Fracture": ("fall", "trauma", "chest pain"),
    "Support Devices": ("line placement", "altered mental status", "hypoxia"),
}
"""Complaints that are more likely with a finding; all of them also occur without it."""
