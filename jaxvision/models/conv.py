"""Convolution for `nn.Conv(conv_general_dilated=...)` that avoids XLA's slow cases on CPU.

Measured on 2 CPU threads with gradients: a depthwise 3x3 took 549 ms as XLA's grouped convolution
and 41 ms as nine shifted multiply-adds; a 3x3 on a 2x2 map took 919 ms against 21 ms as one matrix
product. Accelerators have good kernels for both, so everywhere else this is `lax`'s own op.
"""

import jax
import jax.numpy as jnp
from jax import lax

NHWC = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))


def conv_general_dilated(
    lhs,
    rhs,
    window_strides,
    padding,
    lhs_dilation=None,
    rhs_dilation=None,
    dimension_numbers=None,
    feature_group_count=1,
    batch_group_count=1,
    precision=None,
    preferred_element_type=None,
    **kwargs,
):
    """`lax.conv_general_dilated`, same arguments and result, with two rewrites on CPU.

    lhs [B, H, W, C], rhs [kh, kw, C / groups, O] -> [B, H', W', O]. Which form runs is settled when
    the function is traced, from the shapes and `jax.default_backend()`.
    """
    rewrite = None
    plain = (
        not kwargs
        and batch_group_count == 1
        and jax.default_backend() == "cpu"
        and _is_nhwc(dimension_numbers, lhs, rhs)
        and all(d == 1 for d in (*(lhs_dilation or ()), *(rhs_dilation or ())))
    )
    if plain and rhs.shape[2] == 1 and feature_group_count == lhs.shape[3] == rhs.shape[3]:
        rewrite = _depthwise
    elif plain and feature_group_count == 1 and _kernel_exceeds_map(lhs, rhs):
        rewrite = _patches_dot
    if rewrite is not None:
        pads = _explicit_padding(padding, lhs.shape[1:3], rhs.shape[:2], window_strides)
        windows = _windows(lhs, rhs.shape[:2], window_strides, pads)
        return rewrite(windows, rhs, precision, preferred_element_type)
    return lax.conv_general_dilated(
        lhs,
        rhs,
        window_strides,
        padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
        batch_group_count=batch_group_count,
        precision=precision,
        preferred_element_type=preferred_element_type,
        **kwargs,
    )


def _is_nhwc(dimension_numbers, lhs, rhs):
    if dimension_numbers is None or lhs.ndim != 4:
        return False
    return lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers) == NHWC


def _kernel_exceeds_map(lhs, rhs):
    return rhs.shape[0] > lhs.shape[1] or rhs.shape[1] > lhs.shape[2]


def _explicit_padding(padding, sizes, kernel, strides):
    if isinstance(padding, str):
        return lax.padtype_to_pads(sizes, kernel, strides, padding)
    return padding


def _windows(x, kernel, strides, pads):
    """The kh * kw shifted views of x [B, H, W, C] under the kernel, each [B, H', W', C]."""
    zero = jnp.zeros((), x.dtype)
    # lax.pad, unlike jnp.pad, also takes negative padding, as lax's convolution does.
    x = lax.pad(x, zero, ((0, 0, 0), (*pads[0], 0), (*pads[1], 0), (0, 0, 0)))
    _, height, width, _ = x.shape
    (kh, kw), (sh, sw) = kernel, strides
    rows, cols = max(0, (height - kh) // sh + 1), max(0, (width - kw) // sw + 1)
    return [
        x[:, i : i + (rows - 1) * sh + 1 : sh, j : j + (cols - 1) * sw + 1 : sw]
        for i in range(kh)
        for j in range(kw)
    ]


def _depthwise(windows, rhs, precision, preferred_element_type):
    """One multiply-add a kernel tap; rhs [kh, kw, 1, C] -> [B, H', W', C]."""
    del precision  # elementwise products are exact in the accumulation dtype
    out_dtype = preferred_element_type or jnp.result_type(windows[0], rhs)
    # A chain of bfloat16 additions would round after every tap; a convolution does not.
    accumulate = jnp.promote_types(out_dtype, jnp.float32)
    taps = rhs.reshape(-1, rhs.shape[-1]).astype(accumulate)  # [kh * kw, C]
    total = sum(w.astype(accumulate) * tap for w, tap in zip(windows, taps, strict=True))
    return total.astype(out_dtype)


def _patches_dot(windows, rhs, precision, preferred_element_type):
    """im2col; rhs [kh, kw, C, O] -> [B, H', W', O]."""
    patches = jnp.concatenate(windows, axis=-1)  # [B, H', W', kh * kw * C]
    return jnp.dot(
        patches,
        rhs.reshape(-1, rhs.shape[-1]),
        precision=precision,
        preferred_element_type=preferred_element_type,
    )
