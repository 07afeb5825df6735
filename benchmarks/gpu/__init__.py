"""Every speed of the five systems on one GPU, beside PyTorch; `python -m benchmarks.gpu`."""
