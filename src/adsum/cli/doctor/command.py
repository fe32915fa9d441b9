"""``adsum doctor``: finds faults in the set-up of this machine and of a registry, with a remedy for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from cyclopts import Parameter

from ...errors import AdsumError, WrongNamespace
from ...model import Limits
from ...views.documents import CheckDocument
from ..notes import carry
from ..options import DEFAULT_REGISTRY, FLAG, Json, RegistryOptions
from ..output.checks import print_checks
from .cluster import check_cluster
from .files import check_files
from .findings import DoctorFinding, problem
from .machine import check_folder, check_machine
from .orphans import check_orphans
from .registry import check_registry


def doctor(
    *,
    orphans: Annotated[bool, FLAG, Parameter(help="Look for processes that outlive what they belong to.")] = False,
    json: Json = False,
    options: RegistryOptions = DEFAULT_REGISTRY,
) -> int:
    """Check the machine, the folder and the registry, and suggest remedies.

    ```console
    $ adsum doctor
    ```

    The checks change nothing and start nothing. Exit code 1 where one finds a problem. A warning means that something
    works, but not as well as it could.

    With --orphans only this is looked for: programs that adsum run has started, and what these have started, whose
    adsum run has ended; members of any namespace whose owning member has left; members whose parent has ended, so that
    they belong to init. Each of them is a problem.
    """
    findings = _orphans(options) if orphans else _findings(options)
    # The commands in a remedy are about the same registry.
    checks = [CheckDocument(*one._replace(remedy=carry(one.remedy, options))) for one in findings]
    return print_checks(checks, json=json)


def _orphans(options: RegistryOptions) -> Iterator[DoctorFinding]:
    try:
        with options.open() as registry:
            yield from check_orphans(registry, options)
    except AdsumError as error:
        # The message contains the remedy.
        yield problem("registry", str(error))


def _findings(options: RegistryOptions) -> Iterator[DoctorFinding]:
    folder = options.check()
    yield from check_machine()
    needed_bytes = Limits().max_memory_bytes
    try:
        with options.open(joins=False) as registry:
            found = registry.stats()
            needed_bytes = max(0, found.bytes_limit - found.bytes_used)
            about_registry = [*check_registry(registry, options), *check_cluster(registry)]
    except AdsumError as error:
        # The message contains the remedy.
        about_registry = [problem("pid namespace" if isinstance(error, WrongNamespace) else "registry", str(error))]
    about_folder = list(check_folder(folder, needed_bytes))
    yield from about_folder
    yield from check_files(folder)
    # An error of the folder keeps the registry from being opened, too. Report it once.
    known = {finding.says for finding in about_folder}
    yield from (finding for finding in about_registry if finding.says not in known)
