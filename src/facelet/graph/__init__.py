"""The network as named ops: ONNX in and out, passes, and a NumPy executor. Needs NumPy and onnx alone."""
