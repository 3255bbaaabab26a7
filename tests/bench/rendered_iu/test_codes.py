"""Findings that are drawn for MeSH codes of the Indiana reports, and codes that cannot be drawn."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench.rendered_iu.codes import _RULES, ReadCode, read_code, scene_findings
from data.synthetic.phantom.draw import draw_study
from data.synthetic.scene import KINDS, Scene

REPORTS = Path(__file__).parents[3] / "../shared/data/iu_text/reports.jsonl"


@pytest.mark.parametrize(
    ("code", "drawn"),
    [
        ("Cardiomegaly", ["enlarged heart///"]),
        ("Cardiomegaly/borderline", ["enlarged heart///minimal"]),
        ("Cardiac Shadow/enlarged/severe", ["enlarged heart///large"]),
        ("Opacity/lung/base/left", ["hazy opacity/left/basal/"]),
        ("Opacity/lung/base/bilateral/streaky", ["linear atelectasis/bilateral/basal/small"]),
        ("Opacity/lung/bilateral/interstitial/diffuse", ["interstitial opacity/bilateral/diffuse/"]),
        ("Opacity/lung/upper lobe/right/round/small", ["nodule/right/upper/small"]),
        ("Markings/bronchovascular", ["interstitial opacity//perihilar/minimal"]),
        ("Airspace Disease/lung/lingula", ["hazy opacity/left/lower/"]),
        ("Density/retrocardiac", ["hazy opacity/left/lower/"]),
        ("Pneumonia/upper lobe/right", ["bronchopneumonia/right/upper/"]),
        ("Calcified Granuloma/lung/middle lobe/right", ["nodule/right/mid/minimal"]),
        ("Calcified Granuloma/scattered/multiple", ["nodule/bilateral//minimal"]),
        ("Calcinosis/lung/hilum/lymph nodes/right", ["nodule/right/perihilar/minimal"]),
        ("Cicatrix/lung/apex/bilateral", ["pleural thickening/bilateral/apical/small"]),
        ("Cicatrix/lung/base/left", ["linear atelectasis/left/basal/minimal"]),
        ("Pleural Effusion/left/small", ["pleural effusion/left//small"]),
        ("Costophrenic Angle/right/blunted", ["pleural effusion/right//minimal"]),
        ("Pneumothorax/apex/right/small", ["pneumothorax/right/apical/small"]),
        ("Hydropneumothorax/left", ["pneumothorax/left//", "pleural effusion/left//"]),
        ("Hemothorax/right", ["pleural effusion/right//"]),
        ("Aorta, Thoracic/tortuous/mild", ["tortuous aorta///small"]),
        ("Mediastinum/prominent", ["widened mediastinum///"]),
        ("Fractures, Bone/ribs/left/healed", ["rib fracture/left//"]),
        ("Deformity/clavicle/right", ["clavicle fracture/right//"]),
        ("Catheters, Indwelling/right", ["central venous catheter/right//"]),
        ("Implanted Medical Device/left", ["pacemaker/left//"]),
        ("Implanted Medical Device/aortic valve", ["sternotomy wires///"]),
        ("Surgical Instruments/mediastinum", ["sternotomy wires///"]),
        ("Tube, Inserted/trachea, carina", ["endotracheal tube///"]),
        ("Tube, Inserted/thorax/left", ["chest tube/left//"]),
    ],
)
def test_code_is_drawn_with_its_side_zone_and_degree(code, drawn):
    read = read_code(code)
    assert read.fate == "drawn"
    assert [f"{found.kind}/{found.side}/{found.zone}/{found.degree}" for found in read.findings] == drawn


@pytest.mark.parametrize(
    "code",
    [
        "Scoliosis/thoracic vertebrae",
        "Lung/hypoinflation",
        "Atherosclerosis/aorta",
        "Calcinosis/aorta",
        "Opacity/ribs/anterior",
        "Fractures, Bone/thoracic vertebrae",
        "Deformity/thoracic vertebrae/mild",
        "Catheters, Indwelling/abdomen/right",
        "Implanted Medical Device/shoulder/left",
        "Surgical Instruments/abdomen",
        "Pneumonectomy/left",
        "Medical Device",
    ],
)
def test_code_without_a_form_is_not_drawn(code):
    assert read_code(code) == ReadCode(code=code, fate="no form")


def test_codes_without_findings_have_their_own_status():
    assert read_code("normal").fate == "normal"
    assert read_code("No Indexing").fate == "not indexed"
    assert scene_findings(("normal",)) == ()


def test_equal_findings_are_drawn_once():
    found = scene_findings(("Pulmonary Congestion", "Scoliosis", "Pulmonary Congestion", "Cardiomegaly"))
    assert [finding.kind for finding in found] == ["interstitial edema", "enlarged heart"]


def test_every_rule_has_a_kind_of_the_renderer():
    for _, findings in _RULES:
        for finding in findings:
            assert finding.kind in KINDS[finding.finding]


def test_all_findings_of_the_archive_can_be_drawn():
    if not REPORTS.exists():
        pytest.skip("needs the Indiana reports, which are not part of the project")
    reports = [json.loads(line) for line in REPORTS.read_text(encoding="utf-8").splitlines()]
    codes = [read_code(code) for report in reports for code in report["mesh"]]
    of_findings = [code for code in codes if code.fate in ("drawn", "no form")]
    assert sum(code.fate == "drawn" for code in of_findings) / len(of_findings) > 0.6
    forms = {(found.kind, found.side, found.zone): found for code in of_findings for found in code.findings}
    assert len(forms) > 100
    forms = list(forms.values())
    for start in range(0, len(forms), 8):
        scene = Scene(findings=tuple(forms[start : start + 8]), view_positions=("PA", "LATERAL"))
        images, _ = draw_study(scene, np.random.default_rng(0), 32)
        assert len(images) == 2
