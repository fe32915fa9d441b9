"""``adsum audit``: checks the tables against the invariants."""

from __future__ import annotations

from ...views.documents import AuditDocument
from .. import NOT_FOUND
from ..absence import check_registry
from ..options import DEFAULT_REGISTRY, Json, RegistryOptions
from ..output import render


def audit(*, json: Json = False, options: RegistryOptions = DEFAULT_REGISTRY) -> int:
    """Check every row of the tables against the invariants.

    ```console
    $ adsum audit
    ```

    Exit code 1 where one is violated, or where there is no registry. The documentation lists the invariants, I1 to I5,
    under guarantees.
    """
    with options.open() as registry:
        exists = check_registry(registry, options)
        violations = registry.audit()
        if json:
            render.print_json(AuditDocument(str(registry.folder), violations))
        elif violations:
            for violation in violations:
                print(render.printable(violation))
        elif exists:
            print(f"sound: {registry.folder}")
    return 0 if exists and not violations else NOT_FOUND
