"""The start of the server, which a client waits for at the beginning of each of its sessions.

Most of that time goes into the import of the SDK. Three things make it shorter, and change nothing of what is imported:

- The packages ``mcp`` and ``mcp.server`` are entered without their ``__init__``, which import the SDK's clients and its
  second, larger server. Either is run when a name of it is first used, and so never by this server (PEP 562).
- The SDK has hundreds of models of pydantic, of which a session uses a few. Each is completed at its first use
  (``defer_build``).
- No garbage is collected meanwhile: imports make many objects and hardly any garbage.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Literal

# The packages of which one is missing where the extra is not installed.
EXTRA = ("mcp", "mcp_types", "pydantic", "uvicorn")
# The packages whose `__init__` this server does not use.
_PACKAGES = ("mcp", "mcp.server")


def load(transport: Literal["stdio", "http"]) -> ModuleType:
    """Import the module of a transport, and with it the SDK. Errors: `ModuleNotFoundError` where the extra is not
    installed."""
    collects = gc.isenabled()
    gc.disable()
    try:
        for name in _PACKAGES:
            if name not in sys.modules:
                _enter(name)
        with _models_completed_later():
            return importlib.import_module(f".{transport}", __package__)
    finally:
        # What was imported stays, and need not be visited again and again.
        gc.freeze()
        if collects:
            gc.enable()


@contextmanager
def _models_completed_later() -> Iterator[None]:
    import pydantic

    before = pydantic.BaseModel.model_config
    # Models that are defined in the block inherit it.
    pydantic.BaseModel.model_config = pydantic.ConfigDict(defer_build=True)
    try:
        yield
    finally:
        pydantic.BaseModel.model_config = before


def _enter(name: str) -> None:
    """Make a package known whose `__init__` runs at the first use of a name that is no submodule."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    package = importlib.util.module_from_spec(spec)
    loader = spec.loader

    def get(attribute: str) -> object:
        # The import system asks for names that modules may lack, such as `__path__` and `__wrapped__`.
        if attribute.startswith("__") or "__getattr__" not in vars(package):
            raise AttributeError(f"module {name!r} has no attribute {attribute!r}")
        del vars(package)["__getattr__"]
        loader.exec_module(package)
        return getattr(package, attribute)

    vars(package)["__getattr__"] = get
    sys.modules[name] = package
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, package)
