"""``adsum update``: changes the metadata of a member."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from ...views.documents import entry_document
from ..advice import shell_advice
from ..options import (
    DEFAULT_REGISTRY,
    FLAG,
    PATIENCE_SECONDS,
    WHOLE,
    Id,
    Json,
    RegistryOptions,
    Timeout,
    UsageError,
    check_timeout,
)
from ..output import render
from ..run.metadata import describing_fields, parse_gauges
from ..values import number_or_text, plain_value

_TEXTS = ("type", "health_status", "description", "version", "doing")
_LISTS = ("capabilities", "coordination_variables", "node_affinity", "protocols")


def update(
    id: Id,
    /,
    *,
    set: Annotated[
        tuple[str, ...],
        Parameter(
            negative=(),
            metavar="FIELD=VALUE",
            show_default=False,
            help="Replace a field of the metadata: endpoint=URL, capabilities=a,b, custom.model=x, resources.gpu=2. "
            "custom and resources are replaced whole, by the names given, unless --merge is given. Repeat the option "
            "for several.",
        ),
    ] = (),
    add: Annotated[
        tuple[str, ...],
        Parameter(
            negative=(),
            metavar="PATH=NUMBER",
            show_default=False,
            help="Add to a number, as in custom.done=1 or resources.tokens=-20; what is absent counts as 0. Repeat the "
            "option for several.",
        ),
    ] = (),
    gauge: Annotated[
        tuple[str, ...],
        Parameter(
            negative=(),
            metavar="NAME=NUMBER",
            show_default=False,
            help="Set a gauge of the member, which makes no revision and no event. Repeat the option for several.",
        ),
    ] = (),
    description: Annotated[str | None, Parameter(metavar="TEXT", help="What the program is for.")] = None,
    version: Annotated[
        str | None, Parameter(metavar="TEXT", help="The version of the program. That of adsum: adsum -V.")
    ] = None,
    protocol: Annotated[
        tuple[str, ...],
        Parameter(
            negative=(),
            metavar="WORD",
            show_default=False,
            help="A protocol that the program speaks, such as mcp or http; in place of the present ones, or, with "
            "--merge, beside them. Repeat the option for several.",
        ),
    ] = (),
    doing: Annotated[
        str | None, Parameter(metavar="TEXT", help="What the program does at the moment, on one line; '' for nothing.")
    ] = None,
    merge: Annotated[
        bool,
        FLAG,
        Parameter(
            help="Merge what --set gives into custom, resources and the sets, and keep the rest of them. "
            "custom.model=null removes a name, capabilities.review=null a member of a set."
        ),
    ] = False,
    if_revision: Annotated[
        int | None,
        WHOLE,
        Parameter(metavar="REVISION", help="Update only while the entry has this revision, which show prints."),
    ] = None,
    timeout: Timeout = PATIENCE_SECONDS,
    json: Json = False,
    options: RegistryOptions = DEFAULT_REGISTRY,
) -> int:
    """Change the metadata of a member, no matter which process owns it.

    ```console
    $ adsum update planner --merge --set custom.model=small --add custom.done=1
    $ adsum update planner --doing "reads the report"
    ```

    A VALUE is a number, true, false, null, JSON in brackets, braces or quotes, or text. Dots lead into custom:
    custom.stats.done. The registrar decides from the newest entry, so no change of several processes is lost. Exit code
    1 where no living member is registered under ID, 3 where --if-revision names another revision than the present one.
    """
    described = describing_fields(description, version, protocol, doing)
    if not (set or add or gauge or described):
        raise UsageError("give --set, --add, --gauge or --doing, as in --set endpoint=http://127.0.0.1:9001")
    if if_revision is not None and if_revision < 0:
        raise UsageError(f"--if-revision {if_revision}: give a revision, 0 or more")
    fields: Any = _fields(set)
    if twice := fields.keys() & described.keys():
        raise UsageError(f"{min(twice)} is given by --set, too; give each field once")
    fields |= described
    gauges = parse_gauges(gauge)
    with options.open() as registry:
        process_id = options.parse_id(id, registry)
        with shell_advice(process_id, options, registry):
            entry = registry[process_id]
            for name in gauges:
                # Before the first change.
                registry.gauge(process_id, name)
            if fields or add:
                entry = registry.update(
                    process_id,
                    merge=merge,
                    add=_additions(add) or None,
                    if_revision=if_revision,
                    timeout=check_timeout(timeout),
                    **fields,
                )
            for name, value in gauges.items():
                registry.set_gauge(process_id, name, value)
        if json:
            render.print_json(entry_document(entry))
        else:
            shown = render.printable_id(str(entry.process_id))
            # Gauges have no revision.
            what = f" is updated, revision {entry.revision}" if fields or add else f": {', '.join(gauges)} set"
            print(shown + what)
    return 0


def _fields(words: Sequence[str]) -> dict[str, Any]:
    """The keywords for `Registry.update`. Errors: `UsageError`."""
    fields: dict[str, Any] = {}
    for word, path, text in _split("--set", words):
        field, _, rest = path.partition(".")
        if not rest:
            steps, value = [field], _field_value(field, text)
        else:
            # A resource holds no mapping, so all of the rest is its name; so is a member of a set.
            steps, value = [field, *(rest.split(".") if field == "custom" else [rest])], plain_value(text)
        if not all(steps):
            raise UsageError(f"--set {word!r}: a name is empty; give FIELD=VALUE, as in custom.model=small")
        _put(fields, steps, value, word)
    return fields


def _field_value(field: str, text: str) -> Any:
    if field in _TEXTS:
        return text
    if field in _LISTS:
        return [name for name in text.split(",") if name]
    if field == "endpoint":
        return None if text == "null" else text
    return plain_value(text)


def _put(fields: dict[str, Any], steps: list[str], value: Any, word: str) -> None:
    *outer, last = steps
    target: Any = fields
    for step in outer:
        target = target.setdefault(step, {}) if isinstance(target, dict) else None
    if not isinstance(target, dict) or last in target:
        raise UsageError(f"--set {word!r}: {'.'.join(steps)} is given twice; give each name once")
    target[last] = value


def _additions(words: Sequence[str]) -> dict[str, int | float]:
    added: dict[str, int | float] = {}
    for word, path, text in _split("--add", words):
        number = number_or_text(text)
        if isinstance(number, str):
            raise UsageError(f"--add {word!r}: {text!r} is no number of at most 64 bits; give one, as in custom.done=1")
        if path in added:
            raise UsageError(f"--add {word!r}: {path} is given twice; give each path once")
        added[path] = number
    return added


def _split(option: str, words: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    for word in words:
        path, equals, text = word.partition("=")
        if not (path and equals):
            raise UsageError(f"{option} {word!r}: give a name, = and a value, as in custom.done=1")
        yield word, path, text
