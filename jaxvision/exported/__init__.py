"""Exported models in use: without flax, optax, orbax and clu, and on onnxruntime without jax."""
