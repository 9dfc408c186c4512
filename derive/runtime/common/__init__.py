"""What kernels of all kinds share: interfaces as tables, checks of arguments, caches, and what a training loop needs."""
