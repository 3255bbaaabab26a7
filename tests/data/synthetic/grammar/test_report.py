"""The text of synthetic reports: labels agree with it, and sides, zones and kinds are named."""

import re

import numpy as np
import pytest

from data.reports.labeler.labeler import label_report
from data.synthetic.grammar.report import write_report
from data.synthetic.scene import KINDS, Scene, SceneFinding, sample_scene
from vlm.schema.findings import FINDING_INDEX, FINDINGS, NEGATIVE, POSITIVE, UNCERTAIN
from vlm.schema.report_format import compose_report

KIND_WORDS = {
    "widened mediastinum": r"mediastin\w+.* widen|widen\w+ of the mediastinum|mediastinal widening",
    "tortuous aorta": r"tortuous aorta|aorta is tortuous",
    "enlarged heart": r"(heart|silhouette|size) (is|may be) .*(enlarged|increased)|cardiomegaly|enlargement of",
    "hazy opacity": r"opacit(y|ies)",
    "interstitial opacity": r"(interstitial|reticular) opacit(y|ies)",
    "nodule": r"nodules?",
    "mass": r"mass(es)?",
    "cavitary lesion": r"cavitary (lesion|mass)",
    "interstitial edema": r"edema",
    "alveolar edema": r"edema",
    "lobar consolidation": r"consolidation",
    "bronchopneumonia": r"pneumonia",
    "linear atelectasis": r"atelectasis",
    "lobar collapse": r"collapse|lobar atelectasis",
    "pneumothorax": r"pneumothora(x|ces)",
    "tension pneumothorax": r"tension pneumothora(x|ces)",
    "pleural effusion": r"effusions?|pleural fluid",
    "pleural thickening": r"pleural thickening",
    "calcified plaque": r"plaques?|pleural calcification",
    "rib fracture": r"rib fractures?|fracture of a \w+ ?rib",
    "clavicle fracture": r"clavicle",
    "endotracheal tube": r"endotracheal tube",
    "nasogastric tube": r"(nasogastric|enteric) tube",
    "central venous catheter": r"central (venous catheter|line)",
    "PICC line": r"picc",
    "pacemaker": r"pacemaker",
    "sternotomy wires": r"sternotomy wires",
    "chest tube": r"chest tube|pleural drain",
}
SIDELESS = {
    "widened mediastinum",
    "tortuous aorta",
    "enlarged heart",
    "endotracheal tube",
    "nasogastric tube",
    "sternotomy wires",
}
SIDE_WORDS = {"left": r"\bleft\b", "right": r"\bright\b", "bilateral": r"\bbi|\bboth\b"}
ZONE_WORDS = {
    "apical": r"apical|ap(ex|ices)",
    "upper": r"upper",
    "mid": r"mid\b|middle",
    "lower": r"lower",
    "basal": r"bas(al|ilar|e|es)\b",
    "perihilar": r"hilar|hilum|hila\b",
    "diffuse": r"diffuse|throughout",
}
PRIOR_WORDS = (
    r"\b(unchanged|interval|again|new|newly|stable|compar\w+|prior|previous\w*|since|improved|worsen\w*|persist\w*)\b"
)


def random_scene(rng: np.random.Generator) -> Scene:
    """Any combination of findings, also ones that `data.synthetic.scene` never samples."""

    def pick(options):
        return options[int(rng.integers(len(options)))]

    names = rng.permutation(list(KINDS))[: int(rng.integers(0, 6))]
    return Scene(
        findings=tuple(
            SceneFinding(
                finding=str(name),
                kind=pick(KINDS[name]),
                laterality=pick(("", "left", "right", "bilateral")),
                zone=pick(("", *ZONE_WORDS)),
                degree=pick(("", "minimal", "small", "moderate", "large")),
                uncertain=bool(rng.random() < 0.25),
            )
            for name in names
        ),
        view_positions=pick((("PA",), ("AP",), ("PA", "LATERAL"), ("UNKNOWN",))),
    )


def reports(number: int, sampler=random_scene, seed: int = 0):
    rng = np.random.default_rng(seed)
    for _ in range(number):
        scene = sampler(rng)
        yield scene, write_report(scene, rng)


def text_of(report) -> str:
    return compose_report(findings=report.findings, impression=report.impression)


def one_finding(kind: str, **details) -> Scene:
    finding = next(name for name, kinds in KINDS.items() if kind in kinds)
    return Scene(findings=(SceneFinding(finding=finding, kind=kind, **details),), view_positions=("PA",))


@pytest.mark.parametrize("sampler", [random_scene, sample_scene])
def test_the_labeler_finds_the_labels_of_the_grammar(sampler):
    for _, report in reports(600, sampler):
        assert label_report(text_of(report)) == report.labels, text_of(report)


def test_labels_state_every_finding_of_the_scene():
    for scene, report in reports(400):
        expected = {}
        for item in scene.findings:
            expected[item.finding] = UNCERTAIN if item.uncertain else POSITIVE
        stated = {name: state for name, state in zip(FINDINGS, report.labels, strict=True) if state in (1, 3)}
        stated.pop("No Finding", None)
        assert stated == expected


def test_a_certain_finding_overrides_an_uncertain_one_of_the_same_name():
    sure, unsure = (
        SceneFinding(finding="Lung Lesion", kind="nodule", laterality="left", zone="upper", uncertain=uncertain)
        for uncertain in (False, True)
    )
    for order in ((sure, unsure), (unsure, sure)):
        report = write_report(Scene(findings=order, view_positions=("PA",)), np.random.default_rng(0))
        assert report.labels[FINDING_INDEX["Lung Lesion"]] == POSITIVE


def test_no_finding_is_positive_only_for_normal_chests():
    for scene, report in reports(300):
        diseased = any(item.finding != "Support Devices" for item in scene.findings)
        assert report.labels[FINDING_INDEX["No Finding"]] == (0 if diseased else 1)


@pytest.mark.parametrize("kind", [kind for kinds in KINDS.values() for kind in kinds])
@pytest.mark.parametrize("uncertain", [False, True])
def test_every_kind_is_named_with_its_side(kind, uncertain):
    for laterality, side_words in SIDE_WORDS.items():
        scene = one_finding(kind, laterality=laterality, degree="moderate", uncertain=uncertain)
        for seed in range(6):
            findings = write_report(scene, np.random.default_rng(seed)).findings.lower()
            sentences = [text for text in re.split(r"(?<=\.) ", findings) if re.search(KIND_WORDS[kind], text)]
            assert sentences, findings
            if kind not in SIDELESS:
                assert any(re.search(side_words, text) for text in sentences), findings
                others = [words for other, words in SIDE_WORDS.items() if other != laterality]
                stating = [text for text in sentences if not re.search(r"\bno\b|without|negative", text)]
                assert not any(re.search(words, text) for words in others for text in stating), findings


@pytest.mark.parametrize("kind", ["hazy opacity", "nodule", "lobar consolidation", "bronchopneumonia"])
@pytest.mark.parametrize("zone", ZONE_WORDS)
def test_the_zone_is_named(kind, zone):
    for laterality in ("", *SIDE_WORDS):
        for seed in range(4):
            findings = write_report(
                one_finding(kind, laterality=laterality, zone=zone), np.random.default_rng(seed)
            ).findings
            assert re.search(ZONE_WORDS[zone], findings.lower()), findings


def test_reports_of_the_same_scene_vary():
    opacity = SceneFinding(finding="Lung Opacity", kind="hazy opacity", laterality="left", zone="lower", degree="small")
    effusion = SceneFinding(finding="Pleural Effusion", kind="pleural effusion", laterality="right", degree="small")
    rng = np.random.default_rng(0)
    for findings in ((), (effusion,), (opacity, effusion)):
        scene = Scene(findings=findings, view_positions=("PA",))
        assert len({text_of(write_report(scene, rng)) for _ in range(100)}) >= 95


def test_the_same_scene_and_seed_give_the_same_report():
    scene = sample_scene(np.random.default_rng(5))
    first, second = (write_report(scene, np.random.default_rng(7)) for _ in range(2))
    assert first == second


def test_no_report_mentions_a_prior_study():
    for _, report in reports(600):
        assert not re.search(PRIOR_WORDS, f"{report.indication} {text_of(report)}".lower()), text_of(report)


def test_reports_are_short_to_medium():
    lengths = [len(f"{report.findings} {report.impression}".split()) for _, report in reports(600, sample_scene)]
    assert 38 <= np.mean(lengths) <= 50
    assert np.percentile(lengths, 95) < 80
    assert min(lengths) >= 8


def test_both_sections_have_complete_sentences():
    for _, report in reports(400):
        for section in (report.findings, report.impression):
            assert re.fullmatch(r"[A-Z0-9][^{}]*\.", section), section
            assert not re.search(r"  | [.,]|\.\.|\b(an? an?|an? [a-z]*(opacities|effusions|nodules))\b", section), (
                section
            )
            assert not re.search(r"\ba [aeio]|\ban [^aeio]", section.lower()), section


def test_the_indication_does_not_name_the_findings():
    texts = {report.indication for _, report in reports(600, sample_scene)}
    assert "" in texts and len(texts) > 50
    for text in texts:
        assert set(label_report(text)[:-1]) == {0}, text


def test_a_lateral_view_is_mentioned_only_if_there_is_one():
    spoken = {"LATERAL": 0, "none": 0}
    for scene, report in reports(600):
        lateral = "LATERAL" in scene.view_positions
        spoken["LATERAL" if lateral else "none"] += "lateral" in report.findings.lower().replace("bilateral", "")
    assert spoken["LATERAL"] > 0 and spoken["none"] == 0


def test_a_displaced_mediastinum_is_not_described_as_normal():
    scene = one_finding("tension pneumothorax", laterality="left", degree="large")
    for seed in range(60):
        report = write_report(scene, np.random.default_rng(seed))
        assert report.labels[FINDING_INDEX["Enlarged Cardiomediastinum"]] != NEGATIVE
