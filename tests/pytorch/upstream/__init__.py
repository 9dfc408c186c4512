"""PyTorch's own tests of its recurrent layers, with ours in their place.

    python -m tests.pytorch.upstream CHECKOUT --of TEXT        runs them, and writes docs/data/pytorch.json

`CHECKOUT` is a folder of PyTorch's repository, at the installed release. Nothing of it is kept here.

    choice    which tests concern recurrent layers
    worker    a process that runs tests of one file, with PyTorch's layers or with ours
    run       the processes, their time limits, what came of each test
    reasons   why a test does not pass, for those that do not: reasons.json
"""
