"""The converter from a function of jax to an ONNX model."""
