"""``adsum audit``: are the tables sound?"""

from __future__ import annotations

from . import render
from .options import ANYWHERE, Json, Place


def audit(*, json: Json = False, place: Place = ANYWHERE) -> int:
    """Check every row of the tables against the invariants.

    ```console
    $ adsum audit
    ```

    Exit code 1 where one is violated. The invariants, I1 to I5, stand in the guarantees of the documentation.
    """
    with place.open() as registry:
        violations = registry.audit()
        if json:
            render.print_json({"folder": str(registry.folder), "violations": violations})
        elif violations:
            for violation in violations:
                print(render.printable(violation))
        else:
            print(f"sound: {registry.folder}")
    return 1 if violations else 0
