"""What the code generator and explanations take from the runtime is arithmetic alone: it is there where neither NumPy nor Numba is."""

from __future__ import annotations

import pytest
from conftest import python

REFUSED = """
import importlib.abc, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("numpy", "numba", "llvmlite"):
            raise ImportError(f"no {name}")

sys.meta_path.insert(0, Refuse())
"""

RESULTS = {
    "from derive.runtime.common.sizes import evaluate; print(evaluate('4*n + d - 1', {'n': 3, 'd': 2}))": "13",
    "from derive.runtime.cpu.division import row_parts; print(row_parts(64, 1 << 20, 4, 8))": "4",
    "from derive.runtime.cuda.kind import KINDS; print(KINDS['bfloat16'].real)": "float32",
    "from derive.runtime.cuda.limits import H200; print(H200.processors)": "132",
    "from derive.runtime.cuda.plan import Product; print(Product('4*n', 'n', 'h').columns)": "4*n",
    "from derive.runtime.cuda.planner import shares; print(shares.__name__)": "shares",
}


@pytest.mark.parametrize("code", RESULTS)
def test_it_is_imported_and_works(code: str) -> None:
    assert python(REFUSED + code).strip() == RESULTS[code]


def test_what_stands_for_their_absence_refuses_them() -> None:
    code = "\ntry:\n    import derive.runtime.common.table\nexcept ImportError as error:\n    print(error)"
    assert python(REFUSED + code).strip() == "no numpy"
