"""The same on a device, beside the layers of cuDNN and the cell written in PyTorch (`derive bench --cuda`)."""
