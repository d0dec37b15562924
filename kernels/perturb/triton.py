"""Normal noise from a counter, on the GPU: z + sigma N(0, 1), the same numbers as the other engines draw.

What. ``normal_of`` draws any value of any step, so a kernel that loads a perturbed input makes the noise
where it needs it; ``perturb`` adds it to a tensor, which is how frequencies get theirs.

Layout. Flat elements, one row per fit; seeds and the step number lie in device memory, so that a captured
step can be replayed. A seed is an int64 whose bits are those of the unsigned one.

Traffic. ``perturb`` reads and writes each value once; every Philox block is drawn once for its four values,
which one thread holds and stores together. ``normal_of`` draws a block for one value: four times the work
(about 100 integer operations a value), but its readers take elements in an order of their own.

Arithmetic. Philox is Triton's own; its words are compared with the reference's in the tests. Logarithm and
sine are the CPU version's polynomials, with the angle reduced exactly as an integer: the library's sine
keeps a stack frame for angles that cannot occur here, and the polynomials round alike in the interpreter.
Only one of sine and cosine is evaluated for one value: a cosine is the sine a quarter turn later.

Compiled for sm_80 and sm_90: 32 registers (56 for float64), no stack.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from dipedge.kernels.gpu.launch import launch, programs

BLOCKS = 256  # Philox blocks per tile, of four values each


@triton.jit
def words_of(seed, step, blocks):
    """The four words of Philox4x32-10 of int64 ``blocks``, uint32; seed and step are int64."""
    return tl.philox(
        seed,
        blocks.to(tl.uint32),
        (blocks >> 32).to(tl.uint32),
        step.to(tl.uint32),
        (step >> 32).to(tl.uint32),
    )


@triton.jit
def radius_of(word):
    """sqrt(-2 ln u) of u = (word + 1/2) 2^-32; the logarithm is within 2 ulp."""
    u = (word.to(tl.float32) + 0.5) * 2.3283064365386963e-10
    # Split u = 2^e m with m in [sqrt(1/2), sqrt(2)), then the series of log(1 + f) (Cephes logf).
    moved = u.to(tl.int32, bitcast=True) - 0x3F3504F3
    e = (moved >> 23).to(tl.float32)
    f = ((moved & 0x007FFFFF) + 0x3F3504F3).to(tl.float32, bitcast=True) - 1.0
    square = f * f
    p = 7.0376836292e-2 * f - 1.1514610310e-1
    p = p * f + 1.1676998740e-1
    p = p * f - 1.2420140846e-1
    p = p * f + 1.4249322787e-1
    p = p * f - 1.6668057665e-1
    p = p * f + 2.0000714765e-1
    p = p * f - 2.4999993993e-1
    p = p * f + 3.3333331174e-1
    # ln 2 in two parts: the first times e is exact.
    logarithm = f + (f * square * p - 2.12194440e-4 * e - 0.5 * square) + 0.693359375 * e
    return tl.sqrt(tl.maximum(-2.0 * logarithm, 0.0))


@triton.jit
def sine_of(word, quarters):
    """sin of (word + 1/2) 2^-32 turns and ``quarters`` more (int32)."""
    shifted = tl.add(word, 0x20000000, sanitize_overflow=False)  # an eighth; it may wrap around
    quadrant = (shifted >> 30).to(tl.int32) + quarters
    rest = (shifted & 0x3FFFFFFF).to(tl.int32) - 0x20000000  # within an eighth of zero, exactly
    x = (rest.to(tl.float32) + 0.5) * 1.4629180792671596e-9  # 2 pi / 2^32
    z = x * x
    s = ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1) * z * x + x
    c = (2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2
    c = c * z * z - 0.5 * z + 1.0
    value = tl.where((quadrant & 1) != 0, c, s)
    return tl.where((quadrant & 2) != 0, -value, value)


@triton.jit
def normal_of(seed, step, elements):
    """Standard normal values, float32, of a fit's int64 ``elements``; seed and step are int64 scalars."""
    w0, w1, w2, w3 = words_of(seed, step, elements >> 2)
    second = (elements & 2) != 0
    radius = radius_of(tl.where(second, w2, w0))
    # Even elements are cosines.
    return radius * sine_of(tl.where(second, w3, w1), 1 - (elements & 1).to(tl.int32))


@triton.jit
def normals_of_blocks(seed, step, blocks):
    """The four values of each of the int64 ``blocks`` [N], in order: float32 [4 N]."""
    w0, w1, w2, w3 = words_of(seed, step, blocks)
    first, second = radius_of(w0), radius_of(w2)
    cosines = tl.join(first * sine_of(w1, 1), second * sine_of(w3, 1))
    sines = tl.join(first * sine_of(w1, 0), second * sine_of(w3, 0))
    return tl.reshape(tl.join(cosines, sines), (4 * blocks.shape[0],))


@triton.jit
def perturb_kernel(z, out, seeds, step, sigma, count, BLOCKS: tl.constexpr):
    b = tl.program_id(1).to(tl.int64)
    seed, now = tl.load(seeds + b), tl.load(step)
    # Tiles are counted in int64, and so are the elements they hold.
    for tile in range(tl.program_id(0).to(tl.int64), tl.cdiv(count, 4 * BLOCKS), tl.num_programs(0)):
        blocks = tile * BLOCKS + tl.arange(0, BLOCKS).to(tl.int64)
        elements = tile * (4 * BLOCKS) + tl.arange(0, 4 * BLOCKS).to(tl.int64)
        inside = elements < count
        values = tl.load(z + b * count + elements, mask=inside)
        moved = values + sigma * normals_of_blocks(seed, now, blocks)
        tl.store(out + b * count + elements, moved.to(out.dtype.element_ty), mask=inside)


def perturb(z: Any, out: Any, sigma: float, seeds: Any, step: Any) -> None:
    """out = z + sigma N(0, 1), the noise of each fit numbered along its own flat elements.

    Args:
        z: float32 or float64, [B, ...] contiguous.
        out: of z's shape, contiguous; may be z. Frequencies of a fit are kept in float64, because their
            rounding to float32 moves angles of 256 radians.
        sigma: deviation of the noise.
        seeds: int64 [B], bits of the unsigned seeds.
        step: int64 [1].
    """
    count = z[0].numel()
    grid = (programs(-(-count // (4 * BLOCKS))), z.shape[0])
    launch(perturb_kernel, grid, z, out, seeds, step, sigma, count, BLOCKS=BLOCKS)
