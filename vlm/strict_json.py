"""Frozen dataclasses to JSON and back, strictly: a key that is not a field is an error, never dropped."""

import dataclasses
import difflib
import json
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def to_json(settings: Any) -> str:
    """The dataclass, nested ones included, as indented JSON."""
    return json.dumps(dataclasses.asdict(settings), indent=2) + "\n"


def read_json(path: Path, settings_type: type[T]) -> T:
    """The dataclass that `to_json` wrote to `path`.

    Raises:
        ValueError: the file is absent, is no JSON, or has a key or a value the dataclass does not take;
            names the file and the key.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing; the folder is incomplete, write it again or fetch all of it")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}); it may be half-written") from error
    return from_dict(values, settings_type, where=str(path))


def from_dict(values: Any, settings_type: type[T], *, where: str) -> T:
    """The dataclass from a dictionary; `where` names its origin in messages."""
    if not isinstance(values, dict):
        raise ValueError(f"{where}: expected an object for {settings_type.__name__}, got {type(values).__name__}")
    hints = typing.get_type_hints(settings_type)
    for key in values:
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1)
            suggestion = f"; did you mean {near[0]!r}?" if near else f"; known keys: {', '.join(hints)}"
            raise ValueError(f"{where}: unknown key {key!r}{suggestion}")
    fields = {key: _convert(value, hints[key], where=f"{where}: {key}") for key, value in values.items()}
    try:
        return settings_type(**fields)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error


def _convert(value: Any, hint: Any, *, where: str) -> Any:
    options = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
    if value is None and type(None) in options:
        return None
    for option in options:
        if dataclasses.is_dataclass(option):
            return from_dict(value, option, where=where)
        if typing.get_origin(option) is tuple and isinstance(value, list):
            return tuple(value)
    return value
