#!/usr/bin/env bash
# One record, one library, two encodings: each takes in what the other cannot give back.
#
# A good engineer guesses: a value that msgspec has validated as `int` or `float` can be written by msgspec in JSON and
# in MessagePack alike, and is the same when read again.
# In fact: JSON reads an integer of any length as `int`; the MessagePack encoder raises OverflowError beyond 64 bits. And
# JSON writes nan and infinity as `null` without an error, and then refuses its own output for the same type;
# MessagePack keeps them.
# It matters because: a record that came in over HTTP cannot be stored, and one that was stored cannot be shown and read
# again. Bound numbers at the edge: `Meta(ge=..., le=...)`, and check `math.isfinite`.
# Source: msgpack specification, "int format family"; RFC 8259, section 6; seen with the version below.
. "$(dirname "$0")/prelude"
install msgspec==0.22.0

"$python" - <<'EOP'
import math
import sys

import msgspec


class Load(msgspec.Struct):
    jobs: int
    share: float


def attempt(act) -> str:
    try:
        return str(act())
    except (OverflowError, msgspec.ValidationError) as error:
        return f"{type(error).__name__}: {error}"


long = msgspec.json.decode(b'{"jobs": 123456789012345678901234567890, "share": 0.5}', type=Load)
as_msgpack = attempt(lambda: msgspec.msgpack.encode(long))
packed = msgspec.msgpack.encode(Load(1, math.inf))
infinite = msgspec.msgpack.decode(packed, type=Load)
text = msgspec.json.encode(infinite)
as_json = attempt(lambda: msgspec.json.decode(text, type=Load))
print(f"{long} from JSON; as MessagePack: {as_msgpack}")
print(f"{infinite} from MessagePack; as JSON: {text.decode()}; read again: {as_json}")
refused = as_msgpack.startswith("OverflowError") and as_json.startswith("ValidationError")
sys.exit(not (refused and infinite.share == math.inf))
EOP
