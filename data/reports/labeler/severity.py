"""Severity of the 14 findings in a report: its claims in, one code of SEVERITIES for each finding out.

A finding has the greatest severity of its claims: "small right and moderate left effusions" is moderate. A size in mm
is no severity, because a large nodule is a small mass."""

from data.reports.labeler.claims import join_claims, severity_code
from data.reports.labeler.labeler import described_sentences
from data.reports.labeler.statements import finding_of, join_statements
from vlm.schema.findings import FINDING_INDEX, NUM_FINDINGS, UNNAMED_SEVERITY


def report_severities(*texts: str) -> tuple[int, ...]:
    """The severity of each of FINDINGS in a report or its sections; 0 if the report names none.

    Only findings that are stated or suspected have one."""
    sentences = [sentence for text in texts for sentence in described_sentences(text)]
    severities = [UNNAMED_SEVERITY] * NUM_FINDINGS
    for name, claim in join_claims(join_statements(sentences)).stated.items():
        if finding := finding_of(name):
            index = FINDING_INDEX[finding]
            severities[index] = max(severities[index], severity_code(claim.severity))
    return tuple(severities)
