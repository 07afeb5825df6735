"""jaxvision: five published vision systems in JAX/Flax, run by config."""
