"""Vectors of 64 bytes inside numba kernels: 8 float64 or 16 float32 at once, whatever the processor's own width.

Loops that LLVM vectorises by itself pay for a check of overlapping arrays and for a scalar remainder, which on rows of 25 to 200 regions
is most of the time. Kernels that use these lanes work on rows padded to a multiple of :func:`lane_count` and pay for neither. On a
processor with narrower registers LLVM splits each operation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import extending, njit, types
from numba.core.datamodel import models
from numba.np.arrayobj import make_array

__all__ = [
    "Lanes",
    "add",
    "divide",
    "fill",
    "inverse_cube_root",
    "lane_count",
    "least",
    "load",
    "multiply",
    "multiply_add",
    "number",
    "number_of",
    "pick_less",
    "smallest_of_lower",
    "smallest_of_upper",
    "store",
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
        super().__init__(manager, lanes, _vector(lanes))


def _vector(lanes: Lanes) -> ir.VectorType:
    return ir.VectorType(ir.DoubleType() if lanes.element.bitwidth == 64 else ir.FloatType(), lanes.count)


def _pointer(context: Any, builder: Any, signature: Any, arguments: Any, lanes: Lanes) -> Any:
    """Of the vector at an offset (second argument) of an array (first argument)."""
    data = make_array(signature.args[0])(context, builder, arguments[0]).data
    return builder.bitcast(builder.gep(data, [arguments[1]]), _vector(lanes).as_pointer())


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
def fill(typing: Any, array: Any, value: Any) -> Any:
    """``value`` in every lane of a vector of ``array``'s elements."""
    lanes = Lanes(array.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = _vector(lanes)
        first = builder.insert_element(ir.Constant(vector, ir.Undefined), arguments[1], ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes.count), [0] * lanes.count)
        return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)

    return lanes(array, lanes.element), generate


def _lesser(builder: Any, a: Any, b: Any) -> Any:
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
divide = _elementwise("divide", "a / b; 1 / 0 is infinity.", lambda builder, a, b: builder.fdiv(a, b))
least = _elementwise("least", "The lesser of a and b; b where one is NaN.", _lesser)


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
        undefined = ir.Constant(vector, ir.Undefined)
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), count), [0] * count)

        def spread(scalar: Any) -> Any:
            scalar = builder.trunc(scalar, integer) if width < 64 else scalar
            return builder.shuffle_vector(builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0)), undefined, everywhere)

        numbers = builder.add(spread(start), ir.Constant(vector, list(range(count))))
        kept = builder.and_(builder.bitcast(value, vector), spread(builder.not_(bits)))
        return builder.bitcast(builder.or_(kept, numbers), _vector(a))

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
            undefined = ir.Constant(_vector(vector), ir.Undefined)
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


smallest_of_lower = _reduction("smallest_of_lower", "The least lane of the first half.", _lesser, 0)
smallest_of_upper = _reduction("smallest_of_upper", "The least lane of the second half.", _lesser, 1)
total = _reduction("total", "The sum of all lanes.", lambda builder, a, b: builder.fadd(a, b))


@intrinsic
def _rough_inverse_cube_root(typing: Any, a: Any) -> Any:
    """a^(-1/3) to 4 %: minus a third of the exponent, read as a number together with the mantissa."""
    width = a.element.bitwidth
    exponent, mantissa = {64: (1023, 52), 32: (127, 23)}[width]
    offset = 4 / 3 * (exponent - 0.045) * 2.0**mantissa

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = _vector(a)
        integers = ir.VectorType(ir.IntType(width), a.count)
        bits = builder.sitofp(builder.bitcast(arguments[0], integers), vector)
        third = builder.fmul(bits, ir.Constant(vector, [-1 / 3] * a.count))
        return builder.bitcast(builder.fptosi(builder.fadd(third, ir.Constant(vector, [offset] * a.count)), integers), vector)

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
