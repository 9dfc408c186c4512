"""Steps of cells in PyTorch."""
