"""``python -m adsum`` is the `adsum` command, as ``python -m adsum.cli`` is."""

from __future__ import annotations

import sys

from .cli import main

sys.exit(main())
