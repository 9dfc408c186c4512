"""The demo: recurrent cells of equal size learn Bach's chorales, with generated kernels only, or as layers of PyTorch (`derive demo`)."""
