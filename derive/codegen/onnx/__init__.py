"""A cell's forward pass over a sequence as a graph of ONNX operators, described without the packages that know such graphs."""
