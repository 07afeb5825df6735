"""Photos of places in class folders; see `class_folders`."""

from jaxvision.input_pipeline.class_folders import load

__all__ = ["load"]
