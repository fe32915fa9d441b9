"""A member for the life of an ASGI application: FastAPI, Starlette and others, under any server that runs lifespans.

    app = FastAPI(lifespan=adsum.asgi.lifespan("api-{pid}", capabilities={"api"}))

The process that serves is registered when the application has started. Its endpoint is the address at which the server
really listens, which is known only then. It is healthy once that is so and the application is ready, and its entry goes
with the process, or when the application is shut down in order. `lifespan` has the options, `bound_endpoint` the way in
which the address is found. Nothing here imports a framework.
"""

from __future__ import annotations

from .lifespan import lifespan
from .listening import bound_endpoint

__all__ = ["bound_endpoint", "lifespan"]
