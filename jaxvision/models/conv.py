"""Convolution for `nn.Conv(conv_general_dilated=...)` that avoids XLA's slow cases on CPU.

Milliseconds on 2 CPU threads, float32 (benchmarks/convolutions.py):
  depthwise 3x3, with gradients      344 as XLA's grouped convolution, 52 as nine shifted
                                     multiply-adds, 21 as those one image at a time
  3x3 on a 2x2 map, with gradients   1255, as one matrix product 17
  1x1, weight gradient               16, as a matrix product 9 (16 to 96 channels, 64x64x8)
  3x3, weight gradient               98, as matrix products one image at a time 41 (160 to 32
                                     channels, 64x64x8): what one needs then stays in the cache,
                                     as that of several smaller ones does
Accelerators have good kernels for all of these, so everywhere else this is `lax`'s own op.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

# Bytes of one core's second level: what a matrix product reads had better lie there. Fewer products
# also mean fewer additions to the total: with 1 MiB a step of cnn4 takes .86 of what it takes with
# one image at a time, with 4 MiB .87 (64 x 48 x 48, medians of five turns in one process).
CACHE = 2**20
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
    """`lax.conv_general_dilated`, same arguments and result, with rewrites on CPU.

    lhs [B, H, W, C], rhs [kh, kw, C / groups, O] -> [B, H', W', O]. Which rewrite there is for a
    convolution is settled by its shapes when it is traced; whether it runs, when the program is
    lowered for a platform: one for CUDA holds lax's own convolution alone.
    """
    plain = (
        not kwargs
        and batch_group_count == 1
        and _is_nhwc(dimension_numbers, lhs, rhs)
        and all(d == 1 for d in (*(lhs_dilation or ()), *(rhs_dilation or ())))
    )
    if plain:
        pads = _explicit_padding(padding, lhs.shape[1:3], rhs.shape[:2], window_strides)
        geometry = Geometry(tuple(window_strides), tuple(map(tuple, pads)))
        rewrite = _choose(lhs, rhs, geometry, feature_group_count)
        if rewrite is not None:
            options = Options(geometry, feature_group_count, precision, preferred_element_type)
            return _by_platform(lhs, rhs, rewrite, options)
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


class Options(NamedTuple):
    """What a convolution is besides its operands."""

    geometry: Geometry
    groups: int
    precision: Any
    preferred_element_type: Any


class Rewrite(NamedTuple):
    """A convolution on CPU.

    Attributes:
      forward: (x, rhs, options) -> y; None: lax's own.
      backward: (x, rhs, gradient of y, options) -> gradients of x and rhs.
    """

    forward: Callable | None
    backward: Callable


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _by_platform(x, rhs, rewrite, options):
    """The rewrite on CPU, elsewhere lax's convolution.

    The gradient is a second choice of platform and not the gradient of the first: that would carry
    what either branch needs for it from the forward to the backward pass.
    """
    lax_form = functools.partial(_lax_convolution, options=options)
    if rewrite.forward is None:
        return lax_form(x, rhs)
    cpu_form = functools.partial(rewrite.forward, options=options)
    return lax.platform_dependent(x, rhs, cpu=cpu_form, default=lax_form)


def _by_platform_forward(x, rhs, rewrite, options):
    return _by_platform(x, rhs, rewrite, options), (x, rhs)


def _by_platform_backward(rewrite, options, saved, gradient):
    cpu_form = functools.partial(rewrite.backward, options=options)
    lax_form = functools.partial(_lax_backward, options=options)
    return lax.platform_dependent(*saved, gradient, cpu=cpu_form, default=lax_form)


_by_platform.defvjp(_by_platform_forward, _by_platform_backward)


def _lax_convolution(x, rhs, options):
    return lax.conv_general_dilated(
        x,
        rhs,
        options.geometry.strides,
        options.geometry.pads,
        dimension_numbers=NHWC,
        feature_group_count=options.groups,
        precision=options.precision,
        preferred_element_type=options.preferred_element_type,
    )


def _lax_backward(x, rhs, gradient, options):
    # A convolution is linear in either operand; jax.vjp would compute it once more.
    of_x = jax.linear_transpose(lambda x: _lax_convolution(x, rhs, options), x)
    of_rhs = jax.linear_transpose(lambda rhs: _lax_convolution(x, rhs, options), rhs)
    return *of_x(gradient), *of_rhs(gradient)


def _choose(lhs, rhs, geometry, groups):
    """The rewrite that is faster than lax's convolution here; None where lax's is."""
    # Image by image only on one device: a batch that is split over devices would be gathered.
    by_image = jax.device_count() == 1
    if groups == lhs.shape[3] == rhs.shape[3] and rhs.shape[2] == 1:
        return DEPTHWISE_BY_IMAGE if by_image else DEPTHWISE
    if groups != 1:
        return None
    if rhs.shape[:2] == (1, 1) or rhs.shape[0] > lhs.shape[1] or rhs.shape[1] > lhs.shape[2]:
        return PATCHES_DOT
    return DENSE_IN_CACHE if by_image and geometry.strides == (1, 1) else None


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


def _depthwise(x, rhs, options):
    """One multiply-add a kernel tap; rhs [kh, kw, 1, C] -> [B, H', W', C].

    Elementwise products are exact in the accumulation dtype, whatever `options.precision`.
    """
    windows = _windows(x, rhs.shape[:2], options.geometry)
    out_dtype = options.preferred_element_type or jnp.result_type(x, rhs)
    # A chain of bfloat16 additions would round after every tap; a convolution does not.
    accumulate = jnp.promote_types(out_dtype, jnp.float32)
    taps = rhs.reshape(-1, rhs.shape[-1]).astype(accumulate)  # [kh * kw, C]
    total = sum(w.astype(accumulate) * tap for w, tap in zip(windows, taps, strict=True))
    return total.astype(out_dtype)


def _depthwise_by_image(x, rhs, options):
    """`_depthwise` one image at a time, so that the taps find their input in the cache."""
    return lax.map(lambda image: _depthwise(image[None], rhs, options)[0], x)


def _depthwise_by_image_backward(x, rhs, gradient, options):
    geometry = options.geometry
    adjoint = options._replace(
        geometry=geometry.adjoint(rhs.shape[:2]), preferred_element_type=x.dtype
    )

    def body(total, image_and_gradient):
        image, g = (a[None] for a in image_and_gradient)
        if geometry.strides == (1, 1):
            # The adjoint of a stride 1 convolution is one with the kernel turned by 180 degrees.
            dx = _depthwise(g, rhs[::-1, ::-1], adjoint)
        else:
            dx = jax.vjp(lambda x: _depthwise(x, rhs, options), image)[1](g)[0]
        taps = [
            (window.astype(jnp.float32) * g).sum((0, 1, 2))
            for window in _windows(image, rhs.shape[:2], geometry)
        ]
        return total + jnp.stack(taps), dx[0]

    zeros = jnp.zeros((rhs.shape[0] * rhs.shape[1], rhs.shape[3]), jnp.float32)
    total, dx = lax.scan(body, zeros, (x, gradient))
    return dx, total.reshape(rhs.shape).astype(rhs.dtype)


def _patches_dot(x, rhs, options):
    """im2col; rhs [kh, kw, C, O] -> [B, H', W', O]. For a 1x1 kernel just the matrix product."""
    patches = jnp.concatenate(_windows(x, rhs.shape[:2], options.geometry), axis=-1)
    return jnp.dot(  # [B, H', W', kh * kw * C] by [kh * kw * C, O]
        patches,
        rhs.reshape(-1, rhs.shape[-1]),
        precision=options.precision,
        preferred_element_type=options.preferred_element_type,
    )


def _dense_in_cache_backward(x, rhs, gradient, options):
    """A weight gradient of its own, for stride 1; the input gradient is lax's convolution."""
    geometry = options.geometry
    (kh, kw), channels, filters = rhs.shape[:2], *rhs.shape[2:]
    adjoint = geometry.adjoint((kh, kw))
    turned = rhs[::-1, ::-1].swapaxes(2, 3)
    turned_options = options._replace(geometry=adjoint, preferred_element_type=x.dtype)
    dx = _lax_convolution(gradient, turned, turned_options)
    # dw[i, j] = sum over pixels of x[y + i, x + j] g[y, x]^T: one matrix product once either x or g
    # is laid out for all kernel taps. The one with fewer channels is.
    widen_gradient = filters <= channels

    def body(total, images_and_gradients):
        images, g = images_and_gradients
        if widen_gradient:  # taps of g under the turned kernel, against x
            columns = jnp.concatenate(_windows(g, (kh, kw), adjoint), axis=-1)
            left, right = images, columns
        else:
            columns = jnp.concatenate(_windows(images, (kh, kw), geometry), axis=-1)
            left, right = columns, g
        product = lax.dot_general(
            left.reshape(-1, left.shape[-1]),
            right.reshape(-1, right.shape[-1]),
            (((0,), (0,)), ((), ())),
            precision=options.precision,
            preferred_element_type=jnp.float32,
        )
        return total + product, None

    shape = (channels, kh * kw * filters) if widen_gradient else (kh * kw * channels, filters)
    widened = gradient if widen_gradient else x
    count = _images_at_once(len(x), widened.nbytes // len(x) * kh * kw)
    parts = [a.reshape(-1, count, *a.shape[1:]) for a in (x, gradient)]
    total, _ = lax.scan(body, jnp.zeros(shape, jnp.float32), parts)
    if widen_gradient:
        dw = total.reshape(channels, kh, kw, filters).transpose(1, 2, 0, 3)[::-1, ::-1]
    else:
        dw = total.reshape(kh, kw, channels, filters)
    return dx, dw.astype(rhs.dtype)


def _images_at_once(batch, size):
    """How many images of a batch, `size` bytes each, CACHE holds: a divisor of `batch`."""
    fitting = max(1, CACHE // size)
    return max(n for n in range(1, batch + 1) if batch % n == 0 and n <= fitting)


def _backward_of(forward):
    """The gradients that jax derives from `forward`."""

    def backward(x, rhs, gradient, options):
        return jax.vjp(functools.partial(forward, options=options), x, rhs)[1](gradient)

    return backward


DEPTHWISE = Rewrite(_depthwise, _backward_of(_depthwise))
DEPTHWISE_BY_IMAGE = Rewrite(_depthwise_by_image, _depthwise_by_image_backward)
PATCHES_DOT = Rewrite(_patches_dot, _backward_of(_patches_dot))
DENSE_IN_CACHE = Rewrite(None, _dense_in_cache_backward)
