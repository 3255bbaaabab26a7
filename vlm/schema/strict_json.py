"""Frozen dataclasses to JSON and back; an unknown key or a value of another type is an error."""

import dataclasses
import difflib
import json
import sys
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

MAX_BYTES = 16 * 2**20
"""A larger settings file is rejected without reading it."""


def formerly(name: str) -> dict[str, str]:
    """Metadata of a renamed field; files with the old name are still read."""
    return {"formerly": name}


def former_name(field: dataclasses.Field) -> str | None:
    return field.metadata.get("formerly")


def to_json(settings: Any) -> str:
    """The dataclass as indented JSON, with nested dataclasses."""
    return json.dumps(dataclasses.asdict(settings), indent=2) + "\n"


def read_json(path: Path, settings_type: type[T]) -> T:
    """Read a file that `to_json` wrote.

    Raises:
        ValueError: the file is missing or not valid JSON, or a key or value does not fit the dataclass; names the
            file and the key.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing; the folder is incomplete, write or download it again")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size:,} bytes; settings take at most {MAX_BYTES:,}")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # also invalid UTF-8, and a number of thousands of digits
        raise ValueError(f"{path} is not valid JSON ({error}); it may be half-written") from error
    return from_dict(values, settings_type, where=str(path))


def from_dict(values: Any, settings_type: type[T], *, where: str) -> T:
    """Build the dataclass from a dictionary; `where` names the source in messages."""
    if not isinstance(values, dict):
        raise ValueError(f"{where}: expected an object for {settings_type.__name__}, got {type(values).__name__}")
    hints = typing.get_type_hints(settings_type)
    current = {former_name(field): field.name for field in dataclasses.fields(settings_type)}
    values = {current.get(key, key): value for key, value in values.items()}
    for key in values:
        if key not in hints:
            suggestion = did_you_mean(key, hints) or f"; known keys: {', '.join(hints)}"
            raise ValueError(f"{where}: unknown key {key!r}{suggestion}")
    for field in dataclasses.fields(settings_type):
        has_default = (field.default, field.default_factory) != (dataclasses.MISSING, dataclasses.MISSING)
        if field.name not in values and not has_default:
            raise ValueError(f"{where}: the key {field.name!r} is missing")
    fields = {key: _convert(value, hints[key], where=f"{where}: {key}") for key, value in values.items()}
    try:
        return settings_type(**fields)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def did_you_mean(key: str, known: Iterable[str]) -> str:
    """The end of a message that suggests the most similar known key; "" if none is similar."""
    return "".join(f"; did you mean {near!r}?" for near in difflib.get_close_matches(key, known, n=1))


def _convert(value: Any, hint: Any, *, where: str) -> Any:
    """Convert a value to the annotated type; the only unions are those with None."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _convert(value, next(option for option in arguments if option is not types.NoneType), where=where)
    if dataclasses.is_dataclass(hint):
        return from_dict(value, hint, where=where)
    if origin is typing.Literal and value in arguments:
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(item, arguments[0], where=where) for item in value)
    if (origin or hint) is dict and isinstance(value, dict):
        return value
    if hint is float and type(value) is int and abs(value) <= sys.float_info.max:
        return float(value)
    if type(value) is hint:
        return value
    expected = f"one of {', '.join(map(repr, arguments))}" if origin is typing.Literal else _name(hint)
    raise ValueError(f"{where}: expected {expected}, got {value!r}")


def _name(hint: Any) -> str:
    return {tuple: "a list", dict: "an object"}.get(typing.get_origin(hint) or hint) or hint.__name__
