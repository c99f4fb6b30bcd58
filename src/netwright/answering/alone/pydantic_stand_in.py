"""The little of pydantic that reading a bundle's preprocessing needs: records of given fields, checked and frozen.

Used by run.py alone, in place of pydantic. It takes what JSON holds: no text is read as a number.
"""

from __future__ import annotations

import inspect
import types
import typing
from typing import Annotated, Any, Literal, Union

_NOTHING: Any = object()


class ValidationError(ValueError):
    """A value that a record cannot take, with its place."""

    def __init__(self, message: str, place: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.message, self.place = message, place

    def errors(self) -> list[dict[str, Any]]:
        """As pydantic lists them."""
        return [{"loc": self.place, "msg": self.message}]


class FieldInfo:
    """What is known of a field beside its type."""

    def __init__(self, default: Any, factory: Any, discriminator: str | None, bounds: dict[str, float]) -> None:
        self.default, self.factory, self.discriminator, self.bounds = default, factory, discriminator, bounds


def Field(
    default: Any = _NOTHING, *, default_factory: Any = None, discriminator: str | None = None, **more: Any
) -> Any:
    """A field with a default or with bounds; what describes it is not needed."""
    bounds = {name: more[name] for name in ("gt", "ge", "lt", "le") if more.get(name) is not None}
    return FieldInfo(default, default_factory, discriminator, bounds)


def ConfigDict(**options: Any) -> dict[str, Any]:
    """Options of a record; all here are frozen and take no other fields."""
    return options


class BaseModel:
    """A record; its fields are its annotations."""

    _fields: dict[str, FieldInfo] = {}
    _types: dict[str, Any] | None = None

    def __init_subclass__(cls) -> None:
        found = dict(cls._fields)
        for name in inspect.get_annotations(cls):
            if name == "model_config" or name.startswith("_"):
                continue
            given = cls.__dict__.get(name, _NOTHING)
            found[name] = given if isinstance(given, FieldInfo) else FieldInfo(given, None, None, {})
        cls._fields, cls._types = found, None

    def __init__(self, **given: Any) -> None:
        cls = type(self)
        if cls._types is None:
            cls._types = typing.get_type_hints(cls, include_extras=True)
        unknown = [name for name in given if name not in cls._fields]
        if unknown:
            raise ValidationError("Extra inputs are not permitted", (unknown[0],))
        for name, info in cls._fields.items():
            if name in given:
                value = _at(name, _checked, given[name], cls._types[name], info)
            elif info.factory is not None:
                value = info.factory()
            elif info.default is not _NOTHING:
                value = info.default
            else:
                raise ValidationError("Field required", (name,))
            object.__setattr__(self, name, value)

    @classmethod
    def model_validate(cls, given: Any) -> Any:
        """A record out of a mapping; a record as it is."""
        if isinstance(given, cls):
            return given
        if not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
            raise ValidationError(f"Input should be an object, as {cls.__name__}")
        return cls(**given)

    def __setattr__(self, name: str, value: Any) -> None:
        raise TypeError(f"{type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._values() == other._values()

    def __hash__(self) -> int:
        held = self.__dict__.get("_hash")  # of thousands of words, and asked for each sentence
        if held is None:
            held = hash((type(self), self._values()))
            object.__setattr__(self, "_hash", held)
        return held

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._fields)})"

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self._fields)


def _at(place: Any, check: Any, *given: Any) -> Any:
    try:
        return check(*given)
    except ValidationError as error:
        raise ValidationError(error.message, (place, *error.place)) from None


def _checked(value: Any, kind: Any, info: FieldInfo | None = None) -> Any:
    """A value as a type has it."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return _checked(value, inner[0], next((one for one in inner[1:] if isinstance(one, FieldInfo)), None))
    if kind is Any:
        return value
    if origin is Literal:
        return _literal(value, inner)
    if origin in (Union, types.UnionType):
        return _one_of(value, inner, info)
    if origin is tuple:
        return _tuple(value, inner)
    if origin is dict:
        if not isinstance(value, dict):
            raise ValidationError("Input should be an object")
        return {
            _at(name, _checked, name, inner[0]): _at(name, _checked, each, inner[1]) for name, each in value.items()
        }
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind.model_validate(value)
    return _bounded(_plain(value, kind), info)


def _literal(value: Any, known: tuple[Any, ...]) -> Any:
    if not any(type(value) is type(one) and value == one for one in known):
        raise ValidationError(f"Input should be one of {', '.join(map(repr, known))}")
    return value


def _one_of(value: Any, kinds: tuple[Any, ...], info: FieldInfo | None) -> Any:
    if value is None and type(None) in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    if info is None or info.discriminator is None:
        if len(kinds) == 1:
            return _checked(value, kinds[0], info)
        for kind in kinds:
            try:
                return _checked(value, kind, info)
            except ValidationError:
                continue
        raise ValidationError("Input is of no known kind")
    if isinstance(value, kinds):
        return value
    name = info.discriminator
    said = value.get(name) if isinstance(value, dict) else None
    found = next((kind for kind in kinds if kind._fields[name].default == said), None)
    if found is None:
        raise ValidationError(f"Input tag {said!r} is of no known kind")
    return _at(said, found.model_validate, value)


def _tuple(value: Any, inner: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ValidationError("Input should be a list")
    if len(inner) == 2 and inner[1] is Ellipsis:
        if inner[0] is str:  # tens of thousands of words, at once
            if not all(type(one) is str for one in value):
                raise ValidationError("Input should be a list of texts")
            return tuple(value)
        return tuple(_at(place, _checked, one, inner[0]) for place, one in enumerate(value))
    if len(value) != len(inner):
        raise ValidationError(f"Input should be a list of {len(inner)}")
    return tuple(_at(place, _checked, one, kind) for place, (one, kind) in enumerate(zip(value, inner)))  # noqa: B905


def _plain(value: Any, kind: Any) -> Any:
    """A number, text, or truth."""
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValidationError(f"Input should be of the kind {getattr(kind, '__name__', kind)}")
    return value


def _bounded(value: Any, info: FieldInfo | None) -> Any:
    bounds = {} if info is None else info.bounds
    within = (
        value > bounds.get("gt", value - 1) and value >= bounds.get("ge", value)
        and value < bounds.get("lt", value + 1) and value <= bounds.get("le", value)
    ) if bounds else True  # fmt: skip
    if not within:
        raise ValidationError(f"Input should be within {bounds}")
    return value
