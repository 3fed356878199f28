"""Vectors of 64 bytes inside numba kernels: 8 float64 or 16 float32 at once, whatever the processor's own width.

Loops that LLVM vectorises by itself pay for a check of overlapping arrays and for a scalar remainder, which on rows of 25 to 200 regions
is most of the time. Kernels that use these lanes work on rows padded to a multiple of :func:`lane_count` and pay for neither. On a
processor with narrower registers LLVM splits each operation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, njit, types
from numba.core.datamodel import models
from numba.np.arrayobj import make_array

__all__ = [
    "Lanes",
    "add",
    "aligned",
    "divide",
    "fill",
    "greatest",
    "inverse",
    "inverse_cube_root",
    "lane_count",
    "lane_vector",
    "least",
    "lesser",
    "load",
    "multiply",
    "multiply_add",
    "number",
    "number_of",
    "peek",
    "pick_less",
    "poke",
    "smallest_of_lower",
    "smallest_of_upper",
    "spread",
    "store",
    "subtract",
    "total",
]

BYTES = 64


def intrinsic(definition: Callable[..., Any]) -> Any:
    """Numba's decorator, typed so that calls are not mistaken for calls of the definition."""
    return extending.intrinsic(definition)


class Lanes(types.Type):
    """The numba type of one vector of 64 bytes of float32 or float64."""

    def __init__(self, element: types.Float) -> None:
        self.element = element
        self.count = BYTES * 8 // element.bitwidth
        super().__init__(name=f"Lanes({element})")


@extending.register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        super().__init__(manager, lanes, lane_vector(lanes))


def lane_vector(lanes: Lanes) -> ir.VectorType:
    """The type of such a vector in the intermediate language (as all that intrinsics of other modules are made of)."""
    return ir.VectorType(ir.DoubleType() if lanes.element.bitwidth == 64 else ir.FloatType(), lanes.count)


def _pointer(context: Any, builder: Any, signature: Any, arguments: Any, lanes: Lanes) -> Any:
    """Of the vector at an offset (second argument) of an array (first argument)."""
    data = make_array(signature.args[0])(context, builder, arguments[0]).data
    return builder.bitcast(builder.gep(data, [arguments[1]]), lane_vector(lanes).as_pointer())


@intrinsic
def lane_count(typing: Any, array: Any) -> Any:
    """How many elements of ``array`` fit one vector: 8 or 16."""
    count = Lanes(array.dtype).count

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.get_constant(types.intp, count)

    return types.intp(array), generate


@intrinsic
def load(typing: Any, array: Any, offset: Any) -> Any:
    """The vector at ``array.ravel()[offset : offset + lane_count]``; the array is contiguous and nothing is checked."""
    lanes = Lanes(array.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(context, builder, signature, arguments, lanes)
        return builder.load(pointer, align=lanes.element.bitwidth // 8)

    return lanes(array, types.intp), generate


@intrinsic
def store(typing: Any, array: Any, offset: Any, vector: Any) -> Any:
    """Write a vector to ``array.ravel()[offset : offset + lane_count]``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(context, builder, signature, arguments, vector)
        builder.store(arguments[2], pointer, align=vector.element.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@intrinsic
def peek(typing: Any, array: Any, offset: Any) -> Any:
    """``array.ravel()[offset]``, without a look at whether the offset is negative: that is most of a short loop's work."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.load(builder.gep(data, [arguments[1]]))

    return array.dtype(array, types.intp), generate


@intrinsic
def poke(typing: Any, array: Any, offset: Any, value: Any) -> Any:
    """``array.ravel()[offset] = value``, in the same way."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = make_array(signature.args[0])(context, builder, arguments[0]).data
        builder.store(arguments[2], builder.gep(data, [arguments[1]]))
        return context.get_dummy_value()

    return types.void(array, types.intp, array.dtype), generate


@intrinsic
def fill(typing: Any, array: Any, value: Any) -> Any:
    """``value`` in every lane of a vector of ``array``'s elements."""
    lanes = Lanes(array.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return spread(builder, lane_vector(lanes), arguments[1])

    return lanes(array, lanes.element), generate


def spread(builder: Any, vector: ir.VectorType, scalar: Any) -> Any:
    """A scalar in every place of a vector."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count))


def lesser(builder: Any, a: Any, b: Any) -> Any:
    """The lesser of two vectors, the second where one is NaN: a single instruction."""
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


def _elementwise(name: str, what: str, operation: Any) -> Any:
    def typed(typing: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return operation(builder, *arguments)

        return a(a, b), generate

    typed.__name__ = typed.__qualname__ = name
    typed.__doc__ = what
    return intrinsic(typed)


add = _elementwise("add", "a + b.", lambda builder, a, b: builder.fadd(a, b))
multiply = _elementwise("multiply", "a * b.", lambda builder, a, b: builder.fmul(a, b))
subtract = _elementwise("subtract", "a - b.", lambda builder, a, b: builder.fsub(a, b))
divide = _elementwise("divide", "a / b; 1 / 0 is infinity.", lambda builder, a, b: builder.fdiv(a, b))
greatest = _elementwise(
    "greatest", "The greater of a and b; b where one is NaN.", lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b)
)
least = _elementwise("least", "The lesser of a and b; b where one is NaN.", lesser)


@intrinsic
def multiply_add(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once where the processor can."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fadd(builder.fmul(arguments[0], arguments[1], flags=("contract",)), arguments[2], flags=("contract",))

    return a(a, a, a), generate


@intrinsic
def pick_less(typing: Any, a: Any, b: Any, x: Any, y: Any) -> Any:
    """x where a < b, otherwise y."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", arguments[0], arguments[1]), arguments[2], arguments[3])

    return a(a, a, a, a), generate


@intrinsic
def number(typing: Any, a: Any, first: Any, mask: Any) -> Any:
    """``a`` with its lowest bits (``mask``, 2^b - 1) replaced by the lane's number, from ``first`` up; order but for them stays."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, start, bits = arguments
        width, count = a.element.bitwidth, a.count
        integer = ir.IntType(width)
        vector = ir.VectorType(integer, count)

        def everywhere(scalar: Any) -> Any:
            return spread(builder, vector, builder.trunc(scalar, integer) if width < 64 else scalar)

        numbers = builder.add(everywhere(start), ir.Constant(vector, list(range(count))))
        kept = builder.and_(builder.bitcast(value, vector), everywhere(builder.not_(bits)))
        return builder.bitcast(builder.or_(kept, numbers), lane_vector(a))

    return a(a, types.int64, types.int64), generate


@intrinsic
def number_of(typing: Any, value: Any, mask: Any) -> Any:
    """The number that :func:`number` put in the lowest bits of ``value``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = builder.bitcast(arguments[0], ir.IntType(value.bitwidth))
        bits = builder.zext(bits, ir.IntType(64)) if value.bitwidth < 64 else bits
        return builder.and_(bits, arguments[1])

    return types.int64(value, types.int64), generate


def _reduction(name: str, what: str, operation: Any, half: int | None = None) -> Any:
    """A reduction over all lanes, or over the lower (0) or upper (1) half of them."""

    def typed(typing: Any, vector: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            (value,) = arguments
            width = vector.count if half is None else vector.count // 2
            start = width if half == 1 else 0
            undefined = ir.Constant(lane_vector(vector), ir.Undefined)
            while width > 1:
                width //= 2
                places = [lane + width if start <= lane < start + width else lane for lane in range(vector.count)]
                order = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), places)
                value = operation(builder, value, builder.shuffle_vector(value, undefined, order))
            return builder.extract_element(value, ir.Constant(ir.IntType(32), start))

        return vector.element(vector), generate

    typed.__name__ = typed.__qualname__ = name
    typed.__doc__ = what
    return intrinsic(typed)


smallest_of_lower = _reduction("smallest_of_lower", "The least lane of the first half.", lesser, 0)
smallest_of_upper = _reduction("smallest_of_upper", "The least lane of the second half.", lesser, 1)
total = _reduction("total", "The sum of all lanes.", lambda builder, a, b: builder.fadd(a, b))


@intrinsic
def _rough_inverse_cube_root(typing: Any, a: Any) -> Any:
    """a^(-1/3) to 4 %: minus a third of the exponent, read as a number together with the mantissa."""
    width = a.element.bitwidth
    exponent, mantissa = {64: (1023, 52), 32: (127, 23)}[width]
    offset = 4 / 3 * (exponent - 0.045) * 2.0**mantissa

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = lane_vector(a)
        integers = ir.VectorType(ir.IntType(width), a.count)
        bits = builder.sitofp(builder.bitcast(arguments[0], integers), vector)
        third = builder.fmul(bits, ir.Constant(vector, [-1 / 3] * a.count), flags=("contract",))
        less = builder.fadd(third, ir.Constant(vector, [offset] * a.count), flags=("contract",))
        return builder.bitcast(builder.fptosi(less, integers), vector)

    return a(a), generate


@njit(cache=True, nogil=True, inline="always")
def inverse_cube_root(a: Any, array: Any) -> Any:
    """a^(-1/3) in every lane of ``a``, lanes of ``array``'s elements, to the last bit or two; infinity gives NaN, 0 something finite.

    Twice the series of (1 - e)^(-1/3), e = 1 - a y^3, about a rough y.
    """
    kind = array.dtype.type
    one, minus = fill(array, kind(1)), fill(array, kind(-1))
    c1, c2, c3 = fill(array, kind(1 / 3)), fill(array, kind(2 / 9)), fill(array, kind(14 / 81))
    y = _rough_inverse_cube_root(a)
    for _ in range(2):
        e = multiply_add(multiply(minus, multiply(a, y)), multiply(y, y), one)
        y = multiply_add(multiply(y, e), multiply_add(multiply_add(c3, e, c2), e, c1), y)
    return y


@intrinsic
def _rough_inverse(typing: Any, a: Any) -> Any:
    """1 / a to 5 %: minus the exponent, read as a number together with the mantissa."""
    width = a.element.bitwidth
    exponent, mantissa = {64: (1023, 52), 32: (127, 23)}[width]
    offset = int((2 * exponent - 1 + 0.89895) * 2**mantissa)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        integers = ir.VectorType(ir.IntType(width), a.count)
        bits = builder.sub(ir.Constant(integers, [offset] * a.count), builder.bitcast(arguments[0], integers))
        return builder.bitcast(bits, lane_vector(a))

    return a(a), generate


@intrinsic
def _any_outside(typing: Any, a: Any, low: Any, high: Any) -> Any:
    """Whether a lane of a is below low or above high."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, low, high = arguments
        outside = builder.or_(builder.fcmp_ordered("<", value, low), builder.fcmp_ordered(">", value, high))
        mask = ir.IntType(a.count)
        return builder.icmp_unsigned("!=", builder.bitcast(outside, mask), ir.Constant(mask, 0))

    return types.boolean(a, a, a), generate


@njit(cache=True, nogil=True, inline="always")
def inverse(a: Any, array: Any) -> Any:
    """1 / a in every lane of ``a``, 0 or more, lanes of ``array``'s elements, to the last bit; infinity for 0.

    The series of 1 / (1 - e), e = 1 - a y, twice about a rough y: a third of a division's time.
    """
    kind = array.dtype.type
    small = kind(1e-36 if lane_count(array) == 16 else 1e-300)
    one, nothing, low, high = fill(array, kind(1)), fill(array, kind(0)), fill(array, small), fill(array, 1 / small)
    x = pick_less(nothing, a, a, one)
    y = _rough_inverse(x)
    minus = multiply(x, fill(array, kind(-1)))
    e = multiply_add(minus, y, one)
    y = multiply_add(y, e, y)
    y = multiply_add(y, multiply(e, e), y)
    e = multiply_add(minus, y, one)
    y = multiply_add(y, multiply_add(multiply_add(e, e, e), e, e), y)
    if _any_outside(x, low, high):
        exact = divide(one, x)
        y = pick_less(x, low, exact, pick_less(high, x, exact, y))
    return pick_less(nothing, a, y, fill(array, kind(np.inf)))


@njit(cache=True, nogil=True)
def aligned(size: int, like: Any) -> Any:
    """(size,) scratch of ``like``'s type that begins at a multiple of 64 bytes, so that no vector lies across two lines of the cache."""
    space = np.empty(size + lane_count(like), like.dtype)
    start = (-space.ctypes.data % BYTES) // space.itemsize
    return space[start : start + size]
