"""View positions: the names that sources use, and the few kinds of view that the model tells apart."""

VIEW_KINDS = ("unknown", "frontal PA", "frontal AP", "lateral")
"""The model learns one embedding for each of these."""

_KIND_OF_POSITION = {
    "UNKNOWN": 0,
    "FRONTAL": 1,
    "PA": 1,
    "AP": 2,
    "AP SUPINE": 2,
    "AP ERECT": 2,
    "LATERAL": 3,
    "LL": 3,
    "RL": 3,
    "L": 3,
    "LLD": 3,
    "RLD": 3,
}


def view_index(view_position: str) -> int:
    """Index in VIEW_KINDS of a view position as sources name it; 0 for names not known."""
    return _KIND_OF_POSITION.get(view_position.strip().upper(), 0)
