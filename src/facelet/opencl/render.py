"""OpenCL C of each kind of kernel, every size a number in the text: pure functions from sizes to text.

Activations are blocked: `[n][channels / V][row][column][V]`, V floats side by side, rows and columns with a border
of zeros that whoever writes a tensor writes, too. A work-group is one work-item and takes one row of one group of
channel blocks; accumulators are named variables, as private arrays stay in memory on some compilers.

Plain loads through a cast pointer and `c += s * b` are what PoCL turns into fused vector instructions; `vload` and
`fma` stay calls there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from facelet.opencl.program import SINGLE, Launch, Tuning

PRELUDE = """#pragma OPENCL FP_CONTRACT ON
typedef float fv __attribute__((ext_vector_type({v}), aligned(4)));
typedef float fr __attribute__((ext_vector_type({v})));
typedef int ir __attribute__((ext_vector_type({v})));
#define V {v}
#define LD(p) (*(__global const fv *)(p))
#define ST(p, v) (*(__global fv *)(p) = (v))
#define SPLAT(x) ((fr)(x))
#define ENTRY __attribute__((reqd_work_group_size(1, 1, 1))) __kernel void
// arena, constants; offsets of input, second input (residual) and output; of weights, bias and slopes
#define BUFFERS __global float *A, __global const float *W
#define OFFSETS const int I, const int J, const int O, const int P, const int Q, const int R
"""

FUNCTIONS = {
    "EXP": """
// vectors of 8 and 16 come out wrong of Intel's own exp on some processors; source: Cephes, single/expf.c
static fr EXP(fr x) {
x = x > SPLAT(-87.0f) ? x : SPLAT(-87.0f);
x = x < SPLAT(88.0f) ? x : SPLAT(88.0f);
fr m = x * SPLAT(1.44269504f) + SPLAT(12582912.0f); // the nearest whole number, in the low bits
const fr n = m - SPLAT(12582912.0f);
x -= n * SPLAT(0.693359375f);
x += n * SPLAT(2.12194440e-4f);
fr p = SPLAT(1.9875691500e-4f) * x + SPLAT(1.3981999507e-3f);
p = p * x + SPLAT(8.3334519073e-3f);
p = p * x + SPLAT(4.1665795894e-2f);
p = p * x + SPLAT(1.6666665459e-1f);
p = p * x + SPLAT(5.0000001201e-1f);
p = p * x * x + x + SPLAT(1.0f);
ir bits = (*(ir *)&m - (ir)(0x4B400000) + (ir)(127)) << 23;
return p * *(fr *)&bits;
}
""",
    "POW": """
// number by number, for the same reason
static fr POW(fr x, fr y) {
float a[V], b[V];
*(fv *)a = x; *(fv *)b = y;
for (int i = 0; i < V; i++) a[i] = pow(a[i], b[i]);
return *(fv *)a;
}
""",
}
"""Functions that only the programs that call them contain."""

A_LAUNCH_EACH = """#define LAYER ENTRY
#define ARGUMENTS BUFFERS, OFFSETS
#define ID0 ((int)get_global_id(0))
#define ID1 ((int)get_global_id(1))
"""

ONE_LAUNCH = """#define LAYER static void
#define ARGUMENTS const int ID0, const int ID1, BUFFERS, OFFSETS
"""


def source(kernels: Iterable[Kernel], launches: Sequence[Launch], tuning: Tuning) -> str:
    """The whole text of a program."""
    head = PRELUDE.format(v=tuning.vector) + (ONE_LAUNCH if tuning.single else A_LAUNCH_EACH)
    body = "\n".join(dict.fromkeys(k.text for k in kernels))
    text = head + "".join(function for name, function in FUNCTIONS.items() if f"{name}(" in body) + body
    if not tuning.single:
        return text
    loops = []
    for launch in launches:
        given = ", ".join(str(offset) for offset in launch.offsets)
        loop = f"for (int j = 0; j < {launch.size[1]}; j++) for (int i = 0; i < {launch.size[0]}; i++) "
        loops.append(f"{loop}{launch.kernel}(i, j, A, W, {given});\n")
    return f"{text}\nENTRY {SINGLE}(BUFFERS) {{\n{''.join(loops)}}}\n"


@dataclass(frozen=True)
class View:
    """A blocked tensor in the arena; strides in floats. Its offset is that of pixel (0, 0) of its first block.

    Attributes:
        channels, height, width: without padding.
        pads: border (top, left, bottom, right) that is there, zeros.
        block: from one block of channels to the next.
        image: from one image of the batch to the next.
        vector: floats of a block.
    """

    channels: int
    height: int
    width: int
    pads: tuple[int, int, int, int]
    block: int
    image: int
    vector: int

    @property
    def row(self) -> int:
        """From one row to the next."""
        return (self.width + self.pads[1] + self.pads[3]) * self.vector

    @property
    def blocks(self) -> int:
        """Blocks of channels, the last one filled up."""
        return -(-self.channels // self.vector)


@dataclass(frozen=True)
class Kernel:
    """A kernel's name, which is a hash of its text, and the text."""

    name: str
    text: str


def kernel(kind: str, body: str) -> Kernel:
    """A kernel with the common arguments."""
    name = f"{kind}_{hashlib.sha256(body.encode()).hexdigest()[:10]}"
    return Kernel(name, f"LAYER {name}(ARGUMENTS) {{\n{body}}}\n")


@dataclass(frozen=True)
class Epilogue:
    """What is done to a sum before it is stored.

    Attributes:
        activation: op name, or "".
        values: alpha, or min and max.
        residual: the tensor that is added first.
    """

    activation: str = ""
    values: tuple[float, ...] = ()
    residual: View | None = None


def number(value: float) -> str:
    """A float literal."""
    if value in (float("inf"), float("-inf")):
        return "INFINITY" if value > 0 else "(-INFINITY)"
    return f"({float(value)!r}f)"


def clipped(value: str, low: float, high: float) -> str:
    """An expression that limits a vector."""
    if low > float("-inf"):
        value = f"({value} > SPLAT({number(low)}) ? {value} : SPLAT({number(low)}))"
    if high < float("inf"):
        value = f"({value} < SPLAT({number(high)}) ? {value} : SPLAT({number(high)}))"
    return value


def activated(epilogue: Epilogue, value: str, slope: str) -> str:
    """An expression of the activation of a vector variable; `slope` is that of a PRelu."""
    positive = f"{value} > SPLAT(0.0f) ? {value}"
    if epilogue.activation == "Clip":
        return clipped(value, *epilogue.values)
    if epilogue.activation == "LeakyRelu":
        return f"({positive} : {value} * SPLAT({number(epilogue.values[0])}))"
    if epilogue.activation == "HardSwish":
        return f"({value} * {clipped(f'({value} * SPLAT({number(1 / 6)}) + SPLAT(0.5f))', 0.0, 1.0)})"
    return {
        "": value,
        "Relu": f"({positive} : SPLAT(0.0f))",
        "PRelu": f"({positive} : {value} * {slope})",
        "Sigmoid": f"(SPLAT(1.0f) / (SPLAT(1.0f) + EXP(-{value})))",
        "Sqrt": f"sqrt({value})",
    }[epilogue.activation]


def _border(out: View, blocks: int) -> str:
    """Zeros around row y of `blocks` blocks; the first and the last row write those above and below, too."""
    top, left, bottom, right = out.pads
    if not any(out.pads):
        return ""
    text = [f"for (int k = 0; k < {blocks}; k++) {{ __global float *e = op + k * {out.block};"]
    if left:
        text.append(f"for (int i = 1; i <= {left}; i++) ST(e - i * V, SPLAT(0.0f));")
    if right:
        text.append(f"for (int i = 0; i < {right}; i++) ST(e + ({out.width} + i) * V, SPLAT(0.0f));")
    whole = out.row // out.vector
    above, below = f"e - {top * out.row + left * out.vector}", f"e + {out.row - left * out.vector}"
    for rows, at, start in ((top, 0, above), (bottom, out.height - 1, below)):
        if rows:
            text.append(f"if (y == {at}) for (int i = 0; i < {rows * whole}; i++) ST({start} + i * V, SPLAT(0.0f));")
    return " ".join(text) + " }\n"


def _row_of(out: View, epilogue: Epilogue, blocks: int) -> str:
    """Row y of image n and group g: pointers to output and residual, slopes, border."""
    text = [
        f"const int g = ID1, n = ID0 / {out.height}, y = ID0 % {out.height};",
        f"__global float *op = A + O + n * {out.image} + g * {blocks * out.block} + y * {out.row};",
    ]
    residual = epilogue.residual
    if residual is not None:
        where = f"n * {residual.image} + g * {blocks * residual.block} + y * {residual.row}"
        text.append(f"__global const float *rp = A + J + {where};")
    if epilogue.activation == "PRelu":
        text += [f"const fr s{b} = LD(W + R + (g * {blocks} + {b}) * V);" for b in range(blocks)]
    return "\n".join(text) + "\n" + _border(out, blocks)


def _stored(sums: Sequence[tuple[int, int]], out: View, epilogue: Epilogue) -> str:
    """Stores the accumulators a{pixel}_{block} of a tile that begins at column x."""
    text = []
    for pixel, block in sums:
        name = f"a{pixel}_{block}"
        if epilogue.residual is not None:
            text.append(f"{name} += LD(rp + {block * epilogue.residual.block} + (x + {pixel}) * V);")
        value = activated(epilogue, name, f"s{block}")
        text.append(f"ST(op + {block * out.block} + (x + {pixel}) * V, {value});")
    return "\n".join(text) + "\n"


def _columns(width: int, pixels: int) -> list[tuple[int, int, int]]:
    """A row as runs of equal tiles: (first column, past the last, pixels of a tile)."""
    whole = width // pixels * pixels
    runs = [(0, whole, pixels)] if whole else []
    return runs + ([(whole, width, width - whole)] if width > whole else [])


def tile_of(width: int, out_blocks: int, tuning: Tuning) -> tuple[int, int]:
    """Pixels and channel blocks of a convolution's register tile: within the knobs, with little left over."""
    blocks = max(b for b in range(1, tuning.blocks + 1) if out_blocks % b == 0)
    room = max(1, tuning.pixels * tuning.blocks // blocks)
    tiles = -(-width // min(room, width))
    return -(-width // tiles), blocks


@dataclass(frozen=True)
class Window:
    """How a kernel slides: size, strides and dilations (h, w), pads (top, left, bottom, right)."""

    size: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, ...]
    dilations: tuple[int, int] = (1, 1)


def convolution(x: View, out: View, window: Window, epilogue: Epilogue, tuning: Tuning, *, planar: int = 0) -> Kernel:
    """A dense convolution; weights `[group][input block][ky][kx][channel][block][V]`.

    Args:
        planar: floats from one plane to the next where the input is in planes instead of blocks, else 0.
    """
    pixels, blocks = tile_of(out.width, out.blocks, tuning)
    v = tuning.vector
    step = 1 if planar else v
    row = x.row // v if planar else x.row
    start = window.pads[0] * row + window.pads[1] * step
    group = x.channels * window.size[0] * window.size[1] * blocks * v
    text = _row_of(out, epilogue, blocks)
    text += f"__global const float *ip = A + I + n * {x.image} + y * {window.strides[0] * row} - {start};\n"
    text += f"__global const float *wg = W + P + g * {group};\n"
    for first, past, count in _columns(out.width, pixels):
        sums = [(p, b) for p in range(count) for b in range(blocks)]
        text += f"for (int x = {first}; x < {past}; x += {count}) {{\n__global const float *wp = wg;\n"
        text += "".join(f"fr a{p}_{b} = LD(W + Q + (g * {blocks} + {b}) * V);\n" for p, b in sums)
        if planar:
            text += _taps(window, count, blocks, row, step, _Span(x.channels, planar, 1, 0), tuning)
        else:
            full, rest = divmod(x.channels, v)
            spans = [_Span(full, x.block, v, 0)] * bool(full) + [_Span(1, 0, rest, full * x.block)] * bool(rest)
            text += "".join(_taps(window, count, blocks, row, step, span, tuning) for span in spans)
        text += _stored(sums, out, epilogue) + "}\n"
    return kernel("conv", text)


@dataclass(frozen=True)
class _Span:
    """Input channels that are alike: `outer` blocks or planes, `step` apart, of `channels` each, from `base`."""

    outer: int
    step: int
    channels: int
    base: int


def _taps(window: Window, count: int, blocks: int, row: int, step: int, span: _Span, tuning: Tuning) -> str:
    """The sums of a tile over input blocks (or planes), kernel taps and the channels of a block."""
    (kh, kw), (_, stride), (dh, dw) = window.size, window.strides, window.dilations
    start = f"ip + {span.base} + k * {span.step} + x * {stride * step}"
    text = f"for (int k = 0; k < {span.outer}; k++) {{ __global const float *ib = {start};\n"
    text += f"for (int ky = 0; ky < {kh}; ky++) " if kh > 1 else ""
    text += f"{{ __global const float *iy = ib{f' + ky * {dh * row}' if kh > 1 else ''};\n"
    text += f"for (int kx = 0; kx < {kw}; kx++) " if kw > 1 else ""
    text += f"{{ __global const float *ik = iy{f' + kx * {dw * step}' if kw > 1 else ''};\n"
    if span.channels > 1:
        text += f"#pragma unroll {min(tuning.unroll, span.channels)}\n"
    text += f"for (int c = 0; c < {span.channels}; c++) {{\n"
    text += " ".join(f"const fr w{b} = LD(wp + {b} * V);" for b in range(blocks))
    for p in range(count):
        products = " ".join(f"a{p}_{b} += s * w{b};" for b in range(blocks))
        text += f"\n{{ const float s = ik[c + {p * stride * step}]; {products} }}"
    return text + f"\nwp += {blocks} * V; }}\n}} }} }}\n"


def depthwise(x: View, out: View, window: Window, epilogue: Epilogue, tuning: Tuning) -> Kernel:
    """One filter per channel; weights `[block][ky][kx][V]`."""
    (kh, kw), (sh, sw), (dh, dw) = window.size, window.strides, window.dilations
    small = kh * kw <= 9  # the whole filter stays in registers
    start = window.pads[0] * x.row + window.pads[1] * x.vector
    text = _row_of(out, epilogue, 1)
    text += f"__global const float *ip = A + I + n * {x.image} + g * {x.block} + y * {sh * x.row} - {start};\n"
    text += f"__global const float *wp = W + P + g * {kh * kw} * V;\nconst fr bias = LD(W + Q + g * V);\n"
    if small:
        text += "".join(f"const fr w{k} = LD(wp + {k} * V);\n" for k in range(kh * kw))
    pixels = -(-out.width // -(-out.width // min(tuning.pixels, out.width)))
    for first, past, count in _columns(out.width, pixels):
        text += f"for (int x = {first}; x < {past}; x += {count}) {{ __global const float *it = ip + x * {sw} * V;\n"
        text += "".join(f"fr a{p}_0 = bias;\n" for p in range(count))
        if small:
            for ky in range(kh):
                columns = sorted({p * sw + kx * dw for p in range(count) for kx in range(kw)})
                text += "{" + "".join(f"const fr r{c} = LD(it + {ky * dh * x.row} + {c} * V);\n" for c in columns)
                pairs = [(p, kx) for kx in range(kw) for p in range(count)]
                text += "".join(f"a{p}_0 += r{p * sw + kx * dw} * w{ky * kw + kx};\n" for p, kx in pairs) + "}\n"
        else:
            text += f"for (int ky = 0; ky < {kh}; ky++) for (int kx = 0; kx < {kw}; kx++) {{\n"
            text += f"const fr w = LD(wp + (ky * {kw} + kx) * V);\n"
            where = f"it + ky * {dh * x.row} + kx * {dw} * V"
            text += "".join(f"a{p}_0 += LD({where} + {p * sw} * V) * w;\n" for p in range(count)) + "}\n"
        text += _stored([(p, 0) for p in range(count)], out, epilogue) + "}\n"
    return kernel("depthwise", text)


def pool(x: View, out: View, op: str, window: Window, power: int = 2, *, count_pads: bool = True) -> Kernel:
    """A window over each channel; places outside the image are left out of it."""
    (kh, kw), (sh, sw), pads = window.size, window.strides, window.pads
    magnitude = "(r > SPLAT(0.0f) ? r : -r)"
    grow = {
        "MaxPool": "a = r > a ? r : a;",
        "AveragePool": "a += r;",
        "LpPool": "a += r * r;" if power == 2 else f"a += POW({magnitude}, SPLAT({number(power)}));",
    }[op]
    mean = f"a * SPLAT({number(1 / (kh * kw))})" if count_pads else "a / SPLAT((float)((y1 - y0) * (x1 - x0)))"
    root = "sqrt(a)" if power == 2 else f"POW(a, SPLAT({number(1 / power)}))"
    result = {"MaxPool": "a", "AveragePool": mean, "LpPool": root}[op]
    text = _row_of(out, Epilogue(), 1)
    text += f"""__global const float *ip = A + I + n * {x.image} + g * {x.block};
const int y0 = max(0, y * {sh} - {pads[0]}), y1 = min({x.height}, y * {sh} - {pads[0]} + {kh});
for (int x = 0; x < {out.width}; x++) {{
const int x0 = max(0, x * {sw} - {pads[1]}), x1 = min({x.width}, x * {sw} - {pads[1]} + {kw});
fr a = SPLAT({"-INFINITY" if op == "MaxPool" else "0.0f"});
for (int i = y0; i < y1; i++) for (int j = x0; j < x1; j++) {{ const fr r = LD(ip + i * {x.row} + j * V); {grow} }}
ST(op + x * V, {result}); }}
"""
    return kernel("pool", text)


def lrn(x: View, out: View, size: int, alpha: float, beta: float, bias: float) -> Kernel:
    """Local response normalization: the squares of a pixel side by side, then vectors of sums over windows of them."""
    reach = min(size // 2, x.channels)
    cells = (x.blocks + 1) * x.vector + 2 * reach
    sums = " + ".join(f"*(fv *)(q + k * V + {i})" for i in range(2 * reach + 1))
    power = "SPLAT(1.0f) / (sqrt(b) * sqrt(sqrt(b)))" if beta == 0.75 else f"POW(b, SPLAT({number(-beta)}))"
    text = f"""const int n = ID0 / {out.height}, y = ID0 % {out.height};
__global float *op = A + O + n * {out.image} + y * {out.row};
{_border(out, out.blocks)}__global const float *ip = A + I + n * {x.image} + y * {x.row};
float q[{cells}];
for (int i = 0; i < {cells}; i++) q[i] = 0.0f;
for (int x = 0; x < {x.width}; x++) {{
for (int k = 0; k < {x.blocks}; k++) {{
const fr r = LD(ip + k * {x.block} + x * V);
*(fv *)(q + {reach} + k * V) = r * r; }}
for (int i = {reach + x.channels}; i < {reach + x.blocks * x.vector}; i++) q[i] = 0.0f;
for (int k = 0; k < {x.blocks}; k++) {{
const fr s = {sums};
const fr b = SPLAT({number(bias)}) + SPLAT({number(alpha / size)}) * s;
ST(op + k * {out.block} + x * V, LD(ip + k * {x.block} + x * V) * ({power})); }} }}
"""
    return kernel("lrn", text)


def blocked_map(x: View, out: View, expression: str, other: View | None = None) -> Kernel:
    """An expression of each vector `r`, and of `q`: a second tensor's, or where there is none a constant's, at P."""
    text = _row_of(out, Epilogue(), 1)
    text += f"__global const float *ip = A + I + n * {x.image} + g * {x.block} + y * {x.row};\n"
    if other is None:
        text += "const fr q = LD(W + P + g * V);\n"
    else:
        text += f"__global const float *jp = A + J + n * {other.image} + g * {other.block} + y * {other.row};\n"
    text += f"for (int x = 0; x < {out.width}; x++) {{ const fr r = LD(ip + x * V);\n"
    text += "" if other is None else "const fr q = LD(jp + x * V);\n"
    return kernel("map", text + f"ST(op + x * V, {expression}); }}\n")


def placed(x: View, out: View, top: int, left: int, scale: tuple[int, int], value: float = 0.0) -> Kernel:
    """The input at (top, left) of a larger image, each pixel repeated `scale` times, the rest filled with a value."""
    inside = f"iy >= 0 && iy < {x.height * scale[0]} && ix >= 0 && ix < {x.width * scale[1]}"
    text = _row_of(out, Epilogue(), 1)
    text += f"""const int iy = y - {top};
__global const float *ip = A + I + n * {x.image} + g * {x.block} + iy / {scale[0]} * {x.row};
for (int x = 0; x < {out.width}; x++) {{ const int ix = x - {left};
ST(op + x * V, ({inside}) ? LD(ip + ix / {scale[1]} * V) : SPLAT({number(value)})); }}
"""
    return kernel("place", text)


def to_plain(x: View) -> Kernel:
    """Blocks to row-major: one channel of one image a work-item."""
    text = f"""const int n = ID0, c = ID1;
__global const float *ip = A + I + n * {x.image} + c / V * {x.block} + c % V;
__global float *op = A + O + (n * {x.channels} + c) * {x.height * x.width};
for (int y = 0; y < {x.height}; y++) for (int x = 0; x < {x.width}; x++)
op[y * {x.width} + x] = ip[y * {x.row} + x * V];
"""
    return kernel("plain", text)


def to_blocked(out: View) -> Kernel:
    """Row-major to blocks: one row of one block a work-item; channels that fill up the last block are zero."""
    plane = out.height * out.width
    text = _row_of(out, Epilogue(), 1)
    text += f"""__global const float *ip = A + I + n * {out.channels * plane} + y * {out.width};
for (int x = 0; x < {out.width}; x++) for (int c = 0; c < V; c++) {{ const int k = g * V + c;
op[x * V + c] = k < {out.channels} ? ip[k * {plane} + x] : 0.0f; }}
"""
    return kernel("block", text)


def dense(inputs: int, outputs: int) -> Kernel:
    """A dense layer on row-major vectors; weights `[block][input][V]`, four sums so that none waits for itself."""
    text = f"""const int g = ID1;
__global const float *ip = A + I + ID0 * {inputs}, *wp = W + P + g * {inputs} * V;
fr a = LD(W + Q + g * V), b = SPLAT(0.0f), c = b, d = b;
int i = 0;
for (; i + 3 < {inputs}; i += 4, wp += 4 * V) {{
a += ip[i] * LD(wp); b += ip[i + 1] * LD(wp + V); c += ip[i + 2] * LD(wp + 2 * V); d += ip[i + 3] * LD(wp + 3 * V); }}
for (; i < {inputs}; i++, wp += V) a += ip[i] * LD(wp);
a += b; c += d; a += c;
__global float *op = A + O + ID0 * {outputs} + g * V;
if (g * V + V <= {outputs}) ST(op, a);
else {{ float e[V]; *(fv *)e = a; for (int k = 0; k < {outputs} - g * V; k++) op[k] = e[k]; }}
"""
    return kernel("dense", text)


def normalized(length: int, inner: int, epsilon: float) -> Kernel:
    """Unit length along one axis of a row-major tensor `(outer, length, inner)`."""
    low = number(epsilon)
    scale = f"1.0f / (s > {low} ? s : {low})" if epsilon else "1.0f / s"
    text = f"""const int at = ID0 * {length * inner} + ID1;
__global const float *ip = A + I + at;
__global float *op = A + O + at;
float s = 0.0f;
for (int i = 0; i < {length}; i++) s += ip[i * {inner}] * ip[i * {inner}];
s = sqrt(s);
s = {scale};
for (int i = 0; i < {length}; i++) op[i * {inner}] = ip[i * {inner}] * s;
"""
    return kernel("unit", text)


def copied(length: int, step: int) -> Kernel:
    """Runs of `length` floats into rows of `step` floats, one a work-item."""
    text = f"""__global const float *ip = A + I + ID0 * {length};
__global float *op = A + O + ID0 * {step};
for (int i = 0; i < {length}; i++) op[i] = ip[i];
"""
    return kernel("copy", text)


def flat_map(size: int, expression: str, vector: int) -> Kernel:
    """An expression of each number `r` of a row-major tensor, a vector at a time."""
    whole = size // vector * vector
    text = f"for (int i = 0; i < {whole}; i += V) {{ const fr r = LD(A + I + i); ST(A + O + i, {expression}); }}\n"
    if size > whole:
        text += f"""{{ float e[V]; for (int k = 0; k < V; k++) e[k] = k < {size - whole} ? A[I + {whole} + k] : 0.0f;
const fr r = *(fv *)e; *(fv *)e = {expression}; for (int k = 0; k < {size - whole}; k++) A[O + {whole} + k] = e[k]; }}
"""
    return kernel("flat", text)


def _nest(shape: Sequence[int]) -> str:
    """Loops over all axes but the first, which is the work-item's."""
    rest = 1
    for size in shape[1:]:
        rest *= size
    text = f"const int i0 = ID0;\n__global float *op = A + O + i0 * {rest};\nint k = 0;\n"
    return text + "".join(f"for (int i{a} = 0; i{a} < {size}; i{a}++) " for a, size in enumerate(shape) if a)


def _at(strides: Sequence[int]) -> str:
    return " + ".join(f"i{a} * {stride}" for a, stride in enumerate(strides)) or "0"


def gathered(shape: Sequence[int], strides: Sequence[int], expression: str = "p[0]", before: str = "") -> Kernel:
    """A row-major tensor of `shape` whose element reads the input from `p` on, which moves by `strides`."""
    text = f"{_nest(shape)}{{ __global const float *p = A + I + {_at(strides)}; {before} op[k++] = {expression}; }}\n"
    return kernel("gather", text)


def broadcast(
    shape: Sequence[int], strides: tuple[Sequence[int], Sequence[int]], expression: str, bases: tuple[str, str]
) -> Kernel:
    """A row-major result of two operands `a` and `b` with strides and places of their own."""
    reads = [f"({base})[{_at(steps)}]" for base, steps in zip(bases, strides, strict=True)]
    text = f"{_nest(shape)}{{ const float a = {reads[0]}, b = {reads[1]}; op[k++] = {expression}; }}\n"
    return kernel("join", text)


def grouped(x_shape: Sequence[int], out_shape: Sequence[int], per_group: int, groups: int, window: Window) -> Kernel:
    """A convolution in groups on row-major tensors, one channel of one image a work-item; weights as in ONNX."""
    _, channels, height, width = x_shape
    _, filters, out_h, out_w = out_shape
    (kh, kw), (sh, sw), (dh, dw), pads = window.size, window.strides, window.dilations, window.pads
    text = f"""const int n = ID0, m = ID1, base = m / {filters // groups} * {per_group};
__global float *op = A + O + (n * {filters} + m) * {out_h * out_w};
for (int y = 0; y < {out_h}; y++) for (int x = 0; x < {out_w}; x++) {{ float a = W[Q + m];
for (int c = 0; c < {per_group}; c++) for (int i = 0; i < {kh}; i++) for (int j = 0; j < {kw}; j++) {{
const int iy = y * {sh} + i * {dh} - {pads[0]}, ix = x * {sw} + j * {dw} - {pads[1]};
if (iy >= 0 && iy < {height} && ix >= 0 && ix < {width})
a += A[I + ((n * {channels} + base + c) * {height} + iy) * {width} + ix]
* W[P + ((m * {per_group} + c) * {kh} + i) * {kw} + j]; }}
op[y * {out_w} + x] = a; }}
"""
    return kernel("grouped", text)
