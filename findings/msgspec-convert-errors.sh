#!/usr/bin/env bash
# `msgspec.convert` does not only raise what it is documented to raise.
#
# A good engineer guesses: `convert` checks a Python value against a type, and raises `ValidationError` with the path of
# the value that does not fit. So a server that converts what a caller gave catches that one.
# In fact: a sequence of a class that it does not know, such as a range, is taken for a mapping where a dict is wanted,
# and asked for its keys: AttributeError. Text with a lone surrogate, where a set is wanted, is encoded for the message:
# UnicodeEncodeError. Neither says which field it was.
# It matters because: both pass by an `except msgspec.ValidationError`, and reach the caller as a defect of the server.
# Source: the documentation of msgspec, "Converters"; seen with the version below.
. "$(dirname "$0")/prelude"
install msgspec==0.22.0

"$python" - <<'EOP'
import sys

import msgspec


class Fields(msgspec.Struct):
    resources: dict[str, int] = {}
    capabilities: frozenset[str] = frozenset()


def attempt(fields) -> str:
    try:
        return str(msgspec.convert(fields, Fields))
    except Exception as error:
        return type(error).__name__


found = [attempt(fields) for fields in ({"resources": [1]}, {"resources": range(3)}, {"capabilities": "\ud800"})]
print(f"a list for a dict: {found[0]}; a range for a dict: {found[1]}; a lone surrogate for a set: {found[2]}")
sys.exit(found != ["ValidationError", "AttributeError", "UnicodeEncodeError"])
EOP
