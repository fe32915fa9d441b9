"""Objects of a program as plain data, and back: msgspec structs, dataclasses, and models of pydantic.

Entries hold plain data only, so that every process can read them, also one without the program's classes. A model of
pydantic is recognised by its methods: adsum does not import pydantic, nor need it.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar

import msgspec

T = TypeVar("T")


class DataclassLike(Protocol):
    """An instance of a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


class ModelLike(Protocol):
    """A model of pydantic 2."""

    def model_dump(self, *, mode: str, by_alias: bool) -> dict[str, Any]: ...


# What a call takes as `custom`.
Custom: TypeAlias = "Mapping[str, Any] | msgspec.Struct | DataclassLike | ModelLike"


def is_object(value: object) -> bool:
    """Whether `value` is of a class that `to_plain` takes apart."""
    if isinstance(value, type):
        return False
    # As `dataclasses.is_dataclass` does, without that module, which loads `inspect`.
    return isinstance(value, msgspec.Struct) or hasattr(type(value), "__dataclass_fields__") or _is_model(value)


def to_plain(value: object) -> Any:
    """The data of an object: maps, lists, bytes and scalars; other types as JSON would have them.

    Errors: `TypeError` or `ValueError` where a part of it cannot be plain data.
    """
    if _is_model(value):
        return _dumped(value)
    return msgspec.to_builtins(value, builtin_types=(bytes,), str_keys=True, enc_hook=_dumped)


def from_plain(data: Mapping[str, Any], type: type[T]) -> T:
    """Plain data as an object of `type`. Errors: `ValueError` where it does not fit; `TypeError` for an impossible
    type."""
    # A copy that may be changed, because data of an entry may not.
    data = msgspec.to_builtins(data, builtin_types=(bytes,))
    validate = getattr(type, "model_validate", None)
    if validate is not None:
        model: T = validate(data)
        return model
    return msgspec.convert(data, type, str_keys=True)


def _is_model(value: object) -> bool:
    return callable(getattr(type(value), "model_dump", None))


def _dumped(value: Any) -> Any:
    if not _is_model(value):
        raise TypeError(f"{type(value).__name__} is no plain data")
    # By alias, because the same class reads its fields by alias.
    return value.model_dump(mode="json", by_alias=True)
