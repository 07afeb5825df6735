"""Photos of places with one class each; see `classes`."""

from jaxvision.input_pipeline.classes import load

__all__ = ["load"]
