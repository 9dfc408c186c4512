"""`python -m derive.demo`, the same as `derive demo`: a module that `torchrun` can start."""

from __future__ import annotations

import sys

from .run import main

sys.exit(main())
