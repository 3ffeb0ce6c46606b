"""The kernels of `gpu_norm`, in Triton. A tensor is `(rows, width)`; a row holds a pixel or several, one after another.

`scale`, `shift` and `slope` are of each channel; `line` holds scale, shift, mean and 1 / deviation, one after another.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def bend(
    x,
    other,
    y,
    scale,
    shift,
    slope,
    top,
    n_rows,
    width,
    channels,
    ADDS: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Scales, shifts and bends every value."""
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    place = row[:, None] * width + column[None, :]
    inside = (row < n_rows)[:, None] & (column < width)[None, :]
    channel = column % channels
    value = tl.load(x + place, mask=inside).to(tl.float32)
    value = value * tl.load(scale + channel).to(tl.float32)[None, :] + tl.load(shift + channel).to(tl.float32)[None, :]
    if ADDS:
        value += tl.load(other + place, mask=inside).to(tl.float32)
    below = value * tl.load(slope + channel).to(tl.float32)[None, :]
    value = tl.where(value > 0, tl.minimum(value, top), below)
    tl.store(y + place, value.to(y.dtype.element_ty), mask=inside)


@triton.jit
def sums(x, partial, n_rows, width, channels, per_strip, plane, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    """Sums of a strip, and of its squares, both about the first pixel: so they keep digits far from zero."""
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    first = tl.program_id(0) * per_strip
    stop = tl.minimum(first + per_strip, n_rows)
    about = tl.load(x + column % channels).to(tl.float32)
    total = tl.zeros((ROWS, WIDTH), tl.float32)
    square = tl.zeros((ROWS, WIDTH), tl.float32)
    start = first
    while start < stop:
        row = start + tl.arange(0, ROWS)
        inside = (row < stop)[:, None] & (column < width)[None, :]
        value = tl.load(x + row[:, None] * width + column[None, :], mask=inside).to(tl.float32) - about[None, :]
        value = tl.where(inside, value, 0.0)
        total += value
        square += value * value
        start += ROWS
    out = partial + tl.program_id(0) * width + column
    tl.store(out, tl.sum(total, 0), mask=column < width)
    tl.store(out + plane, tl.sum(square, 0), mask=column < width)


@triton.jit
def finish(
    x,
    partial,
    line,
    weight,
    bias,
    running_mean,
    running_variance,
    momentum,
    eps,
    n_parts,
    channels,
    n_pixels,
    plane,
    PARTS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """From the strips' sums to the line of each channel, and to its running statistics."""
    channel = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    known = channel < channels
    total = tl.zeros((PARTS, WIDTH), tl.float32)
    square = tl.zeros((PARTS, WIDTH), tl.float32)
    start = 0
    while start < n_parts:
        part = start + tl.arange(0, PARTS)
        inside = (part < n_parts)[:, None] & known[None, :]
        place = partial + part[:, None] * channels + channel[None, :]
        total += tl.load(place, mask=inside, other=0.0)
        square += tl.load(place + plane, mask=inside, other=0.0)
        start += PARTS
    mean = tl.sum(total, 0) / n_pixels
    variance = tl.maximum(tl.sum(square, 0) / n_pixels - mean * mean, 0.0)
    mean += tl.load(x + channel, mask=known, other=0.0).to(tl.float32)
    inverse = 1 / tl.sqrt(variance + eps)
    scale = tl.load(weight + channel, mask=known, other=0.0) * inverse
    shift = tl.load(bias + channel, mask=known, other=0.0) - mean * scale
    tl.store(line + channel, scale, mask=known)
    tl.store(line + channels + channel, shift, mask=known)
    tl.store(line + 2 * channels + channel, mean, mask=known)
    tl.store(line + 3 * channels + channel, inverse, mask=known)
    unbiased = variance * (n_pixels / (n_pixels - 1.0))
    old = tl.load(running_mean + channel, mask=known, other=0.0)
    tl.store(running_mean + channel, old + momentum * (mean - old), mask=known)
    old = tl.load(running_variance + channel, mask=known, other=0.0)
    tl.store(running_variance + channel, old + momentum * (unbiased - old), mask=known)


@triton.jit
def sums_back(
    x,
    gradient,
    partial,
    line,
    slope,
    top,
    n_rows,
    width,
    channels,
    per_strip,
    plane,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Sums over a strip: of the gradient before the activation, of it times the deviation, and of the slope's own."""
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    channel = column % channels
    scale, shift, mean = (
        tl.load(line + channel),
        tl.load(line + channels + channel),
        tl.load(line + 2 * channels + channel),
    )
    bent = tl.load(slope + channel).to(tl.float32)
    first = tl.program_id(0) * per_strip
    stop = tl.minimum(first + per_strip, n_rows)
    plain = tl.zeros((ROWS, WIDTH), tl.float32)
    crossed = tl.zeros((ROWS, WIDTH), tl.float32)
    of_slope = tl.zeros((ROWS, WIDTH), tl.float32)
    start = first
    while start < stop:
        row = start + tl.arange(0, ROWS)
        inside = (row < stop)[:, None] & (column < width)[None, :]
        place = row[:, None] * width + column[None, :]
        value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
        come = tl.load(gradient + place, mask=inside, other=0.0).to(tl.float32)
        normed = value * scale[None, :] + shift[None, :]
        above = normed > 0
        passed = tl.where(above, tl.where(normed < top, come, 0.0), come * bent[None, :])
        plain += passed
        crossed += tl.where(inside, passed * (value - mean[None, :]), 0.0)
        of_slope += tl.where(above, 0.0, come * normed)
        start += ROWS
    out = partial + tl.program_id(0) * width + column
    tl.store(out, tl.sum(plain, 0), mask=column < width)
    tl.store(out + plane, tl.sum(crossed, 0), mask=column < width)
    tl.store(out + 2 * plane, tl.sum(of_slope, 0), mask=column < width)


@triton.jit
def finish_back(
    partial, line, of_parameters, back, n_parts, channels, n_pixels, plane, PARTS: tl.constexpr, WIDTH: tl.constexpr
):
    """From the strips' sums to the gradients of weight, bias and slope, and to how those of the values come of them."""
    channel = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    known = channel < channels
    plain = tl.zeros((PARTS, WIDTH), tl.float32)
    crossed = tl.zeros((PARTS, WIDTH), tl.float32)
    of_slope = tl.zeros((PARTS, WIDTH), tl.float32)
    start = 0
    while start < n_parts:
        part = start + tl.arange(0, PARTS)
        inside = (part < n_parts)[:, None] & known[None, :]
        place = partial + part[:, None] * channels + channel[None, :]
        plain += tl.load(place, mask=inside, other=0.0)
        crossed += tl.load(place + plane, mask=inside, other=0.0)
        of_slope += tl.load(place + 2 * plane, mask=inside, other=0.0)
        start += PARTS
    one, two = tl.sum(plain, 0), tl.sum(crossed, 0)
    scale = tl.load(line + channel, mask=known, other=0.0)
    mean = tl.load(line + 2 * channels + channel, mask=known, other=0.0)
    inverse = tl.load(line + 3 * channels + channel, mask=known, other=0.0)
    tl.store(of_parameters + channel, two * inverse, mask=known)
    tl.store(of_parameters + channels + channel, one, mask=known)
    tl.store(of_parameters + 2 * channels + channel, tl.sum(of_slope, 0), mask=known)
    factor = -scale * inverse * inverse * two / n_pixels
    tl.store(back + channel, factor, mask=known)
    tl.store(back + channels + channel, -scale * one / n_pixels - factor * mean, mask=known)


@triton.jit
def bend_back(
    x, gradient, result, line, slope, back, top, n_rows, width, channels, ROWS: tl.constexpr, WIDTH: tl.constexpr
):
    """The gradient of every value."""
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    place = row[:, None] * width + column[None, :]
    inside = (row < n_rows)[:, None] & (column < width)[None, :]
    channel = column % channels
    scale, shift = tl.load(line + channel)[None, :], tl.load(line + channels + channel)[None, :]
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    come = tl.load(gradient + place, mask=inside, other=0.0).to(tl.float32)
    normed = value * scale + shift
    bent = come * tl.load(slope + channel).to(tl.float32)[None, :]
    passed = tl.where(normed > 0, tl.where(normed < top, come, 0.0), bent)
    factor, added = tl.load(back + channel)[None, :], tl.load(back + channels + channel)[None, :]
    tl.store(result + place, (passed * scale + value * factor + added).to(result.dtype.element_ty), mask=inside)
