"""The checkpoint that ships with the project, by a name that means the same on every machine.

Whatever reads with a model reads with this one where no other is named; and `--checkpoint cxrscribe-tiny`,
`--start-from cxrscribe-tiny` name it. A folder of that name is written with a path: `./cxrscribe-tiny`.
"""

from pathlib import Path

SHIPPED = "cxrscribe-tiny"
SHIPPED_CHECKPOINT = Path(__file__).parent / "weights" / "tiny"


def shipped_checkpoint() -> Path:
    """Its folder.

    Raises:
        ValueError: it is not there, as in a copy of the code without its weights.
    """
    if not (SHIPPED_CHECKPOINT / "config.json").is_file():
        raise ValueError(
            f"{SHIPPED}, the checkpoint that ships with the project, is not in {SHIPPED_CHECKPOINT}; "
            "fetch the project again with its weights, or name a checkpoint folder of your own"
        )
    return SHIPPED_CHECKPOINT


def told(name: str | Path) -> str:
    """The line by which a program says which model it reads with."""
    return f"Model: {name}" + (", which ships with the project" if name == SHIPPED else "")
