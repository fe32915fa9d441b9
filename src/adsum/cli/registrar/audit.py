"""``adsum audit``: checks the tables against the invariants."""

from __future__ import annotations

from ...views.documents import AuditDocument
from ..options import DEFAULT_REGISTRY, Json, RegistryOptions
from ..output import render


def audit(*, json: Json = False, options: RegistryOptions = DEFAULT_REGISTRY) -> int:
    """Check every row of the tables against the invariants.

    ```console
    $ adsum audit
    ```

    Exit code 1 where one is violated. The documentation lists the invariants, I1 to I5, under guarantees.
    """
    with options.open() as registry:
        violations = registry.audit()
        if json:
            render.print_json(AuditDocument(str(registry.folder), violations))
        elif violations:
            for violation in violations:
                print(render.printable(violation))
        else:
            print(f"sound: {registry.folder}")
    return 1 if violations else 0
