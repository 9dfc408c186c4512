"""Code in C: a cell's step as one file of C99, which allocates nothing and needs the standard library's mathematics only."""
