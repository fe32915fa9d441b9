"""``adsum doctor``: what is wrong with this machine's set-up, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator

from ... import admin
from ...errors import AdsumError, WrongNamespace
from ...model import Limits
from ..options import DEFAULT_REGISTRY, Json, RegistryOptions
from ..output import render
from .file_checks import check_files
from .findings import Finding, problem
from .machine_checks import check_folder, check_machine
from .registry_checks import check_registry


def doctor(*, json: Json = False, options: RegistryOptions = DEFAULT_REGISTRY) -> int:
    """Check the machine, the folder and the registry, and say what to do.

    ```console
    $ adsum doctor
    ```

    It changes nothing and starts nothing. Exit code 1 where there is a problem; a warning is something that works, but
    not as well as it could.
    """
    findings = list(_look(options))
    problems = [finding for finding in findings if finding.level == "problem"]
    if json:
        render.print_json({"healthy": not problems, "checks": [finding._asdict() for finding in findings]})
    else:
        render.print_table(("check", "state", "found"), _rows(findings), empty="")
    return 1 if problems else 0


def _look(options: RegistryOptions) -> Iterator[Finding]:
    yield from check_machine()
    folder = admin.registry_folder("default" if options.name is None else options.name, options.path)
    wanted = Limits().max_memory_bytes
    later: list[Finding] = []
    try:
        with options.open() as registry:
            found = registry.stats()
            wanted = max(0, found.bytes_limit - found.bytes_used)
            later = list(check_registry(registry))
    except AdsumError as error:
        # The message says what to do.
        later = [problem("pid namespace" if isinstance(error, WrongNamespace) else "registry", str(error))]
    about_folder = list(check_folder(folder, wanted))
    yield from about_folder
    yield from check_files(folder)
    told = {finding.says for finding in about_folder}
    yield from (finding for finding in later if finding.says not in told)


def _rows(findings: list[Finding]) -> Iterator[tuple[str, str, str]]:
    for check, level, says, remedy in findings:
        yield check, level, says
        if remedy:
            yield "", "", f"-> {remedy}"
