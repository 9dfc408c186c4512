"""Random cells, and what must hold for every one of them: `python -m tests.fuzz`."""
