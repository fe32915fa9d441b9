"""``python -m adsum.cli`` is the `adsum` command."""

from __future__ import annotations

import sys

from . import main

sys.exit(main())
