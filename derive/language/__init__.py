"""From a cell's text to its definition: parsed, checked, its shapes inferred.  The standard library alone."""
