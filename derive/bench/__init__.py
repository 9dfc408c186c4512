"""Time of generated kernels beside that of other ways to run the same cells, in interleaved runs (`derive bench`)."""
