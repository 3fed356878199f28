"""Many graphs side by side: Floyd-Warshall where every lane of a vector is another graph, and what brings graphs into lanes and back.

With a graph in each lane no row is too short for a vector, no half of a vector is above the diagonal, and nothing has to be moved between
lanes: a tile of 4 x 4 pairs stays in registers while four regions between them are tried, and what is left is additions and minima, two
instructions where a matrix product has one. The pairs are those above the diagonal: ``X[a * ld + b]``, counted in vectors, for a < b.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import extending, njit, types
from numba.core import cgutils
from numba.np.arrayobj import make_array
from numpy.typing import NDArray

from connectome_gnn.topology.lanes import Lanes, lane_vector, lesser, spread

__all__ = [
    "TILE",
    "collect",
    "floyd_warshall_side_by_side",
    "load_rows",
    "load_several",
    "pick_positive",
    "product_of_several",
    "scatter_rows",
    "store_rows",
    "transpose",
]

TILE = 4
"""Rows and columns of a tile, and pivots tried at once."""

_WORD = ir.IntType(64)
_PAIRS = tuple((row, column) for row in range(TILE) for column in range(row + 1, TILE))


def _intrinsic(definition: Any) -> Any:
    """Numba's decorator, which hands over numbers known to the compiler as such."""
    return extending.intrinsic(prefer_literal=True)(definition)


def _constant(value: int) -> ir.Constant:
    return ir.Constant(_WORD, value)


class _Vectors:
    """An array as vectors, addressed by their number or by elements."""

    def __init__(self, context: Any, builder: Any, array: Any, value: Any) -> None:
        self.builder, self.lanes = builder, Lanes(array.dtype)
        self.elements = make_array(array)(context, builder, value).data
        self.vectors = builder.bitcast(self.elements, lane_vector(self.lanes).as_pointer())
        self.align = self.lanes.element.bitwidth // 8

    def at(self, number: Any) -> Any:
        return self.builder.gep(self.vectors, [number])

    def element(self, offset: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(self.elements, [offset]), lane_vector(self.lanes).as_pointer())

    def load(self, pointer: Any) -> Any:
        return self.builder.load(pointer, align=self.align)

    def store(self, vector: Any, pointer: Any) -> None:
        self.builder.store(vector, pointer, align=self.align)


@_intrinsic
def load_rows(typing: Any, array: Any, offset: Any, stride: Any) -> Any:
    """As many vectors as a vector has lanes, the first at ``array.ravel()[offset]``, each ``stride`` elements after the one before."""
    lanes = Lanes(array.dtype)
    rows = types.UniTuple(lanes, lanes.count)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source = _Vectors(context, builder, signature.args[0], arguments[0])
        places = [builder.add(arguments[1], builder.mul(arguments[2], _constant(row))) for row in range(lanes.count)]
        return context.make_tuple(builder, rows, [source.load(source.element(place)) for place in places])

    return rows(array, types.intp, types.intp), generate


@_intrinsic
def store_rows(typing: Any, array: Any, offset: Any, stride: Any, rows: Any) -> Any:
    """The reverse of :func:`load_rows`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target = _Vectors(context, builder, signature.args[0], arguments[0])
        for row in range(rows.count):
            place = builder.add(arguments[1], builder.mul(arguments[2], _constant(row)))
            target.store(builder.extract_value(arguments[3], row), target.element(place))
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, rows), generate


@_intrinsic
def scatter_rows(typing: Any, array: Any, places: Any, first: Any, rows: Any) -> Any:
    """Vector r to vector number ``places[first + r]`` of ``array``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target = _Vectors(context, builder, signature.args[0], arguments[0])
        numbers = make_array(signature.args[1])(context, builder, arguments[1]).data
        for row in range(rows.count):
            number = builder.load(builder.gep(numbers, [builder.add(arguments[2], _constant(row))]))
            target.store(builder.extract_value(arguments[3], row), target.at(number))
        return context.get_dummy_value()

    return types.void(array, places, types.intp, rows), generate


@_intrinsic
def transpose(typing: Any, rows: Any) -> Any:
    """Lane r of vector c where lane c of vector r was: as many vectors as each has lanes."""
    count = rows.count

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vectors = [builder.extract_value(arguments[0], row) for row in range(count)]
        half = 1
        while half < count:
            low = [lane if not lane & half else lane - half + count for lane in range(count)]
            high = [lane + half if not lane & half else lane + count for lane in range(count)]
            masks = [ir.Constant(ir.VectorType(ir.IntType(32), count), places) for places in (low, high)]
            for row in range(count):
                if not row & half:
                    one, two = vectors[row], vectors[row + half]
                    vectors[row], vectors[row + half] = (builder.shuffle_vector(one, two, mask) for mask in masks)
            half *= 2
        return context.make_tuple(builder, rows, vectors)

    return rows(rows), generate


@_intrinsic
def collect(typing: Any, array: Any, offsets: Any, first: Any, second: Any) -> Any:
    """Lane l is ``array.ravel()[offsets[first + l] + offsets[second + l]]``, offsets int64; nothing is checked."""
    lanes = Lanes(array.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        count, size = lanes.count, lanes.element.bitwidth // 8
        words, vector = ir.VectorType(_WORD, count), lane_vector(lanes)
        places = make_array(signature.args[1])(context, builder, arguments[1]).data

        def read(at: Any) -> Any:
            return builder.load(builder.bitcast(builder.gep(places, [at]), words.as_pointer()), align=8)

        data = builder.ptrtoint(make_array(signature.args[0])(context, builder, arguments[0]).data, _WORD)
        steps = builder.mul(builder.add(read(arguments[2]), read(arguments[3])), ir.Constant(words, [size] * count))
        pointers = ir.VectorType(vector.element.as_pointer(), count)
        addresses = builder.inttoptr(builder.add(spread(builder, words, data), steps), pointers)
        all_lanes = ir.VectorType(ir.IntType(1), count)
        kind = ir.FunctionType(vector, [pointers, ir.IntType(32), all_lanes, vector])
        gather = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.gather.v{count}f{8 * size}.v{count}p0")
        chosen = [ir.Constant(ir.IntType(32), size), ir.Constant(all_lanes, [1] * count), ir.Constant(vector, ir.Undefined)]
        return builder.call(gather, [addresses, *chosen])

    return lanes(array, offsets, types.intp, types.intp), generate


@_intrinsic
def pick_positive(typing: Any, array: Any, offset: Any, limit: Any, first: Any, numbers: Any, values: Any, at: Any) -> Any:
    """The lanes above 0, of the first ``limit`` of the vector at an offset of ``array``; how many there are.

    Their numbers, counted from ``first``, go to ``numbers[at:]``, and what is in them to ``values[at:]``.
    """
    lanes = Lanes(array.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        count, source = lanes.count, _Vectors(context, builder, signature.args[0], arguments[0])
        words, mask, vector = ir.VectorType(_WORD, count), ir.VectorType(ir.IntType(1), count), lane_vector(lanes)
        value = source.load(source.element(arguments[1]))
        lane_numbers = ir.Constant(words, list(range(count)))
        there = builder.icmp_signed("<", lane_numbers, spread(builder, words, arguments[2]))
        above = builder.and_(builder.fcmp_ordered(">", value, ir.Constant(vector, [0.0] * count)), there)
        positions = builder.add(spread(builder, words, arguments[3]), lane_numbers)
        for picked, place, name in ((positions, 4, "i64"), (value, 5, f"f{lanes.element.bitwidth}")):
            into = builder.gep(make_array(signature.args[place])(context, builder, arguments[place]).data, [arguments[6]])
            kind = ir.FunctionType(ir.VoidType(), [picked.type, into.type, mask])
            compress = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.compressstore.v{count}{name}")
            builder.call(compress, [picked, into, above])
        return builder.zext(builder.ctpop(builder.bitcast(above, ir.IntType(count))), _WORD)

    return types.intp(array, types.intp, types.intp, types.intp, numbers, values, types.intp), generate


@_intrinsic
def load_several(typing: Any, array: Any, offset: Any, count: Any) -> Any:
    """``count`` vectors, one after the other, from ``array.ravel()[offset]`` on; or as many as there are in ``count``."""
    lanes = Lanes(array.dtype)
    several = count if isinstance(count, types.UniTuple) else types.UniTuple(lanes, count.literal_value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source = _Vectors(context, builder, signature.args[0], arguments[0])
        places = [builder.add(arguments[1], _constant(number * lanes.count)) for number in range(several.count)]
        return context.make_tuple(builder, several, [source.load(source.element(place)) for place in places])

    return several(array, types.intp, count), generate


@_intrinsic
def product_of_several(typing: Any, several: Any, array: Any, offset: Any) -> Any:
    """In each lane the sum of products of several vectors with as many of ``array`` from an offset on."""
    lanes = several.dtype

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source = _Vectors(context, builder, signature.args[1], arguments[1])
        found = [ir.Constant(lane_vector(lanes), [0.0] * lanes.count)] * 2
        for number in range(several.count):
            place = source.element(builder.add(arguments[2], _constant(number * lanes.count)))
            product = builder.fmul(builder.extract_value(arguments[0], number), source.load(place), flags=("contract",))
            found[number % 2] = builder.fadd(product, found[number % 2], flags=("contract",))
        return builder.fadd(*found)

    return lanes(several, array, types.intp), generate


def _between(vectors: dict[tuple[int, int], Any], a: int, b: int) -> Any:
    return vectors[min(a, b), max(a, b)]


@_intrinsic
def _close_corner(typing: Any, X: Any, corner: Any, ld: Any) -> Any:
    """Shortest paths among four regions, in place; their six lengths."""
    lengths = types.UniTuple(Lanes(X.dtype), len(_PAIRS))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target = _Vectors(context, builder, signature.args[0], arguments[0])
        places = {
            (a, b): target.at(builder.add(builder.add(arguments[1], builder.mul(arguments[2], _constant(a))), _constant(b)))
            for a, b in _PAIRS
        }
        found = {pair: target.load(place) for pair, place in places.items()}
        for k in range(TILE):
            for a, b in _PAIRS:
                if k not in (a, b):
                    found[a, b] = lesser(builder, builder.fadd(_between(found, a, k), _between(found, k, b)), found[a, b])
        for pair, place in places.items():
            target.store(found[pair], place)
        return context.make_tuple(builder, lengths, [found[pair] for pair in _PAIRS])

    return lengths(X, types.intp, types.intp), generate


@_intrinsic
def _reach(typing: Any, X: Any, at: Any, stride: Any, panel: Any, into: Any, corner: Any) -> Any:
    """From one region to the four pivots by way of each other, in place (every ``stride`` vectors), with a copy in ``panel``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target = _Vectors(context, builder, signature.args[0], arguments[0])
        copy = _Vectors(context, builder, signature.args[3], arguments[3])
        among = {pair: builder.extract_value(arguments[5], number) for number, pair in enumerate(_PAIRS)}
        places = [target.at(builder.add(arguments[1], builder.mul(arguments[2], _constant(pivot)))) for pivot in range(TILE)]
        given = [target.load(place) for place in places]
        for pivot, place in enumerate(places):
            length = given[pivot]
            for other in range(TILE):
                if other != pivot:
                    length = lesser(builder, builder.fadd(given[other], _between(among, other, pivot)), length)
            target.store(length, place)
            copy.store(length, copy.at(builder.add(arguments[4], _constant(pivot))))
        return context.get_dummy_value()

    return types.void(X, types.intp, types.intp, panel, types.intp, corner), generate


@_intrinsic
def _relax(typing: Any, X: Any, at: Any, ld: Any, panel: Any, rows: Any, columns: Any, pivots: Any, diagonal: Any) -> Any:
    """One tile shortened by the first ``pivots`` pivots; on the ``diagonal`` only what is above it."""
    across = [(a, b) for a in range(TILE) for b in range(TILE) if not diagonal.literal_value or a < b]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target = _Vectors(context, builder, signature.args[0], arguments[0])
        source = _Vectors(context, builder, signature.args[3], arguments[3])
        starts = [builder.add(arguments[1], builder.mul(arguments[2], _constant(row))) for row in range(TILE)]
        places = {(a, b): target.at(builder.add(starts[a], _constant(b))) for a, b in across}
        found = {pair: target.load(place) for pair, place in places.items()}
        for pivot in range(pivots.literal_value):
            left, right = (
                [source.load(source.at(builder.add(start, _constant(number * TILE + pivot)))) for number in range(TILE)]
                for start in (arguments[4], arguments[5])
            )
            for a, b in across:
                found[a, b] = lesser(builder, builder.fadd(left[a], right[b]), found[a, b])
        for pair, place in places.items():
            target.store(found[pair], place)
        return context.get_dummy_value()

    return types.void(X, types.intp, types.intp, panel, types.intp, types.intp, pivots, diagonal), generate


@njit(cache=True, nogil=True)
def floyd_warshall_side_by_side(X: NDArray, n: int, ld: int, panel: NDArray) -> None:
    """Shortest paths above the diagonal of X, in place, one graph in each lane (a kernel for kernels).

    Parameters
    ----------
    X : lengths, a vector for each pair, rows ``ld`` vectors apart; regions from n to the next multiple of four must be there, infinitely
        far. Aligned to 64 bytes, or it takes half as long again.
    n : regions.
    ld : n or more, a multiple of four.
    panel : four vectors a region, scratch.
    """
    m = (n + TILE - 1) // TILE * TILE
    for k in range(0, m, TILE):
        corner = _close_corner(X, k * ld + k, ld)
        for a in range(k):
            _reach(X, a * ld + k, 1, panel, a * TILE, corner)
        for b in range(k + TILE, m):
            _reach(X, k * ld + b, ld, panel, b * TILE, corner)
        for a in range(0, m, TILE):
            if a == k:
                continue
            if n - k > 2:
                _relax(X, a * ld + a, ld, panel, a * TILE, a * TILE, 4, True)
                for b in range(a + TILE, m, TILE):
                    if b != k:
                        _relax(X, a * ld + b, ld, panel, a * TILE, b * TILE, 4, False)
            else:
                _relax(X, a * ld + a, ld, panel, a * TILE, a * TILE, 2, True)
                for b in range(a + TILE, m, TILE):
                    if b != k:
                        _relax(X, a * ld + b, ld, panel, a * TILE, b * TILE, 2, False)
