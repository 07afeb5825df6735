"""Convolution for `nn.Conv(conv_general_dilated=...)` that avoids XLA's slow cases on CPU.

Milliseconds on 2 CPU threads, float32 (benchmarks/convolutions.py):
  depthwise 3x3, with gradients      344 as XLA's grouped convolution, 52 as nine shifted
                                     multiply-adds, 21 as those one image at a time
  3x3 on a 2x2 map, with gradients   1255, as one matrix product 17
  1x1, weight gradient               16, as a matrix product 9 (16 to 96 channels, 64x64x8)
  3x3, weight gradient               98, as matrix products one image at a time 41 (160 to 32
                                     channels, 64x64x8): what one needs then stays in the cache
Accelerators have good kernels for all of these, so everywhere else this is `lax`'s own op.
"""

import functools
from typing import NamedTuple

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
    if plain:
        pads = _explicit_padding(padding, lhs.shape[1:3], rhs.shape[:2], window_strides)
        geometry = Geometry(tuple(window_strides), tuple(map(tuple, pads)))
        rewrite = _choose(lhs, rhs, geometry, feature_group_count)
    if rewrite is not None:
        return rewrite(lhs, rhs, geometry, precision, preferred_element_type)
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


class Geometry(NamedTuple):
    """Strides and explicit padding, ((top, bottom), (left, right)), of a 2D convolution."""

    strides: tuple[int, int]
    pads: tuple[tuple[int, int], tuple[int, int]]

    def adjoint(self, kernel):
        """Of the convolution that gives the input gradient of a stride 1 convolution."""
        pads = [(k - 1 - a, k - 1 - b) for k, (a, b) in zip(kernel, self.pads, strict=True)]
        return Geometry((1, 1), tuple(pads))


def _choose(lhs, rhs, geometry, groups):
    """The rewrite that is faster than lax's convolution here; None where lax's is."""
    # Image by image only on one device: a batch that is split over devices would be gathered.
    by_image = jax.device_count() == 1
    if groups == lhs.shape[3] == rhs.shape[3] and rhs.shape[2] == 1:
        return _depthwise_by_image if by_image else _depthwise
    if groups != 1:
        return None
    if rhs.shape[:2] == (1, 1) or rhs.shape[0] > lhs.shape[1] or rhs.shape[1] > lhs.shape[2]:
        return _patches_dot
    return _dense_by_image if by_image and geometry.strides == (1, 1) else None


def _explicit_padding(padding, sizes, kernel, strides):
    if isinstance(padding, str):
        return lax.padtype_to_pads(sizes, kernel, strides, padding)
    return padding


def _windows(x, kernel, geometry):
    """The kh * kw shifted views of x [B, H, W, C] under the kernel, each [B, H', W', C]."""
    strides, pads = geometry
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


def _depthwise(x, rhs, geometry, precision, preferred_element_type):
    """One multiply-add a kernel tap; rhs [kh, kw, 1, C] -> [B, H', W', C]."""
    del precision  # elementwise products are exact in the accumulation dtype
    windows = _windows(x, rhs.shape[:2], geometry)
    out_dtype = preferred_element_type or jnp.result_type(x, rhs)
    # A chain of bfloat16 additions would round after every tap; a convolution does not.
    accumulate = jnp.promote_types(out_dtype, jnp.float32)
    taps = rhs.reshape(-1, rhs.shape[-1]).astype(accumulate)  # [kh * kw, C]
    total = sum(w.astype(accumulate) * tap for w, tap in zip(windows, taps, strict=True))
    return total.astype(out_dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _depthwise_by_image(x, rhs, geometry, precision, preferred_element_type):
    """`_depthwise` one image at a time, so that the taps find their input in the cache."""
    one = functools.partial(_depthwise, geometry=geometry, precision=precision)
    one = functools.partial(one, preferred_element_type=preferred_element_type)
    return lax.map(lambda image: one(image[None], rhs)[0], x)


def _depthwise_forward(x, rhs, *static):
    return _depthwise_by_image(x, rhs, *static), (x, rhs)


def _depthwise_backward(geometry, precision, preferred_element_type, saved, gradient):
    x, rhs = saved
    adjoint = geometry.adjoint(rhs.shape[:2])

    def body(total, image_and_gradient):
        image, g = (a[None] for a in image_and_gradient)
        if geometry.strides == (1, 1):
            # The adjoint of a stride 1 convolution is one with the kernel turned by 180 degrees.
            dx = _depthwise(g, rhs[::-1, ::-1], adjoint, precision, x.dtype)
        else:
            dx = jax.vjp(
                lambda x: _depthwise(x, rhs, geometry, precision, preferred_element_type), image
            )[1](g)[0]
        taps = [
            (window.astype(jnp.float32) * g).sum((0, 1, 2))
            for window in _windows(image, rhs.shape[:2], geometry)
        ]
        return total + jnp.stack(taps), dx[0]

    zeros = jnp.zeros((rhs.shape[0] * rhs.shape[1], rhs.shape[3]), jnp.float32)
    total, dx = lax.scan(body, zeros, (x, gradient))
    return dx, total.reshape(rhs.shape).astype(rhs.dtype)


_depthwise_by_image.defvjp(_depthwise_forward, _depthwise_backward)


def _patches_dot(x, rhs, geometry, precision, preferred_element_type):
    """im2col; rhs [kh, kw, C, O] -> [B, H', W', O]. For a 1x1 kernel just the matrix product."""
    patches = jnp.concatenate(_windows(x, rhs.shape[:2], geometry), axis=-1)
    return jnp.dot(  # [B, H', W', kh * kw * C] by [kh * kw * C, O]
        patches,
        rhs.reshape(-1, rhs.shape[-1]),
        precision=precision,
        preferred_element_type=preferred_element_type,
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _dense_by_image(x, rhs, geometry, precision, preferred_element_type):
    """lax's convolution with a weight gradient of its own; stride 1."""
    return lax.conv_general_dilated(
        x,
        rhs,
        geometry.strides,
        geometry.pads,
        dimension_numbers=NHWC,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )


def _dense_forward(x, rhs, *static):
    return _dense_by_image(x, rhs, *static), (x, rhs)


def _dense_backward(geometry, precision, preferred_element_type, saved, gradient):
    del preferred_element_type
    x, rhs = saved
    (kh, kw), channels, filters = rhs.shape[:2], *rhs.shape[2:]
    adjoint = geometry.adjoint((kh, kw))
    turned = rhs[::-1, ::-1].swapaxes(2, 3)
    dx = _dense_by_image(gradient, turned, adjoint, precision, x.dtype)
    # dw[i, j] = sum over pixels of x[y + i, x + j] g[y, x]^T: one matrix product once either x or g
    # is laid out for all kernel taps. The one with fewer channels is.
    widen_gradient = filters <= channels

    def body(total, image_and_gradient):
        image, g = (a[None] for a in image_and_gradient)
        if widen_gradient:  # taps of g under the turned kernel, against x
            columns = jnp.concatenate(_windows(g, (kh, kw), adjoint), axis=-1)
            left, right = image, columns
        else:
            columns = jnp.concatenate(_windows(image, (kh, kw), geometry), axis=-1)
            left, right = columns, g
        product = lax.dot_general(
            left.reshape(-1, left.shape[-1]),
            right.reshape(-1, right.shape[-1]),
            (((0,), (0,)), ((), ())),
            precision=precision,
            preferred_element_type=jnp.float32,
        )
        return total + product, None

    shape = (channels, kh * kw * filters) if widen_gradient else (kh * kw * channels, filters)
    total, _ = lax.scan(body, jnp.zeros(shape, jnp.float32), (x, gradient))
    if widen_gradient:
        dw = total.reshape(channels, kh, kw, filters).transpose(1, 2, 0, 3)[::-1, ::-1]
    else:
        dw = total.reshape(kh, kw, channels, filters)
    return dx, dw.astype(rhs.dtype)


_dense_by_image.defvjp(_dense_forward, _dense_backward)
