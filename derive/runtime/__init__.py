"""The hand-written support that generated kernels are shipped with."""
