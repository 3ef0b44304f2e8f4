"""`python -m chassis` is the command `quanlian`."""

from __future__ import annotations

import sys

from chassis.cli import main

sys.exit(main())
