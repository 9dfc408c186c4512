"""The mathematics: recurrences of named equations, their adjoints, Jacobians and structure.  SymPy, and no numbers."""
