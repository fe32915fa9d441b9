"""The fixture `project`, for all tests of this folder."""

from __future__ import annotations

from .runs import project as project
