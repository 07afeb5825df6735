"""What GPUs can do at most, as their makers state it; dense, without sparsity."""

from typing import NamedTuple


class Peak(NamedTuple):
    """Limits of a chip.

    Attributes:
      tflops: TFLOP/s by precision: float32 (no tensor cores), tf32, bfloat16.
      terabytes: of memory, a second.
      source: where that is written.
    """

    tflops: dict[str, float]
    terabytes: float
    source: str


def _peak(float32: float, tf32: float, bfloat16: float, terabytes: float, source: str) -> Peak:
    return Peak({"float32": float32, "tf32": tf32, "bfloat16": bfloat16}, terabytes, source)


# The first whose name is in what the driver calls the device.
PEAKS = {
    "H200": _peak(67, 494.7, 989.4, 4.8, "NVIDIA H200 Tensor Core GPU datasheet"),
    "H100 PCIe": _peak(51, 378, 756, 2.0, "NVIDIA H100 Tensor Core GPU datasheet"),
    "H100 80GB HBM3": _peak(67, 494.7, 989.4, 3.35, "NVIDIA H100 Tensor Core GPU datasheet"),
    "A100-SXM4-80GB": _peak(19.5, 156, 312, 2.039, "NVIDIA A100 Tensor Core GPU datasheet"),
    "A100 80GB PCIe": _peak(19.5, 156, 312, 1.935, "NVIDIA A100 Tensor Core GPU datasheet"),
    "A100-SXM4-40GB": _peak(19.5, 156, 312, 1.555, "NVIDIA A100 Tensor Core GPU datasheet"),
}
H100 = PEAKS["H100 80GB HBM3"]


def peak_of(device_kind: str) -> Peak | None:
    """The limits of a device by its name; None where they are not known here."""
    return next((peak for name, peak in PEAKS.items() if name in device_kind), None)
