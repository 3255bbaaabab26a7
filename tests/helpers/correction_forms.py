"""A correction form as the browser sends it."""

import json

from vlm.schema.findings import FINDINGS


def sent(reading="k", findings=("The heart is normal.",), impression=(), **states):
    states = {finding.replace("_", " "): state for finding, state in states.items()}
    return json.dumps(
        {
            "reading": reading,
            "findings": list(findings),
            "impression": list(impression),
            "states": dict.fromkeys(FINDINGS, "from the text") | states,
        }
    )
