"""Indices that MLX 0.32 follows without a look: on a CPU one outside of an array reads other memory, or ends the
process (SIGSEGV). Many come from a config: a network finds rows of one table with the numbers of another."""

from __future__ import annotations

from functools import wraps
from typing import Any


def bound_indices() -> None:
    """Keep the indices of `array[…]`, `array[…] = …`, `mx.take`, `mx.take_along_axis`, `mx.put_along_axis`,
    `mx.gather_mm` and `mx.gather_qmm` inside of the array, for all networks from now on.

    An index in an array is replaced by the nearest that there is, as the values are known too late for an error; a
    number raises `IndexError`, and so does any index into an axis of size 0.
    """
    import mlx.core as mx

    arrays, largest = mx.array, {kind: mx.iinfo(kind).max for kind in _integers(mx)}

    def within(index: Any, size: int, lowest: int | None = None) -> Any:
        """Return `index`, a number or an array of any shape, inside of an axis of `size`; below 0 from its end."""
        if type(index) is int:
            if not -size <= index < size:
                raise IndexError(f"the index {index} is outside of an axis of size {size}")
            return index
        if isinstance(index, list):
            index = mx.array(index)
        most = largest.get(index.dtype)
        if most is None or not index.size:
            return index  # MLX refuses what is no integer
        if not size:
            raise IndexError("an index into an axis of size 0")
        if index.dtype in unsigned:
            return mx.minimum(index, size - 1) if size <= most else index
        return mx.clip(index, max(-size if lowest is None else lowest, -most - 1), min(size - 1, most))

    def bounded(array: Any, key: Any) -> Any:
        """Return `key` with its numbers and arrays inside of the axes that they are for."""
        kind = type(key)
        if kind is slice:
            return key
        if kind is arrays or kind is int or kind is list:
            return within(key, array.shape[0]) if array.ndim else key
        if kind is not tuple or not any(type(part) in (int, arrays, list) for part in key):
            return key
        axis, parts = 0, []
        for part in key:
            if part is Ellipsis:
                axis += array.ndim - sum(1 for other in key if other is not None and other is not Ellipsis)
            elif part is not None:
                if type(part) in (int, arrays, list) and 0 <= axis < array.ndim:
                    part = within(part, array.shape[axis])
                axis += 1
            parts.append(part)
        return tuple(parts)

    unsigned = {mx.uint8, mx.uint16, mx.uint32, mx.uint64}
    get, put = arrays.__getitem__, arrays.__setitem__
    take, take_along, put_along = mx.take, mx.take_along_axis, mx.put_along_axis
    gather, gather_packed = mx.gather_mm, mx.gather_qmm

    @wraps(take)
    def bounded_take(a: Any, /, indices: Any, axis: int | None = None, **options: Any) -> Any:
        return take(a, within(indices, a.size if axis is None else a.shape[axis]), axis, **options)

    @wraps(take_along)
    def bounded_take_along(a: Any, /, indices: Any, axis: int | None = -1, **options: Any) -> Any:
        return take_along(a, within(indices, a.size if axis is None else a.shape[axis]), axis, **options)

    @wraps(put_along)
    def bounded_put_along(a: Any, /, indices: Any, values: Any, axis: int | None = None, **options: Any) -> Any:
        return put_along(a, within(indices, a.size if axis is None else a.shape[axis]), values, axis, **options)

    def matrix(index: Any, matrices: Any) -> Any:
        """Return `index` inside of the numbers of matrices, which are the last two axes."""
        rows, columns = matrices.shape[-2:]
        return None if index is None else within(index, matrices.size // max(1, rows * columns), lowest=0)

    @wraps(gather)
    def bounded_gather(a: Any, b: Any, /, lhs_indices: Any = None, rhs_indices: Any = None, **options: Any) -> Any:
        return gather(a, b, matrix(lhs_indices, a), matrix(rhs_indices, b), **options)

    @wraps(gather_packed)
    def bounded_gather_packed(
        x: Any,
        w: Any,
        /,
        scales: Any,
        biases: Any = None,
        lhs_indices: Any = None,
        rhs_indices: Any = None,
        *rest: Any,
        **options: Any,
    ) -> Any:
        return gather_packed(x, w, scales, biases, matrix(lhs_indices, x), matrix(rhs_indices, w), *rest, **options)

    arrays.__getitem__ = lambda array, key: get(array, bounded(array, key))
    arrays.__setitem__ = lambda array, key, value: put(array, bounded(array, key), value)
    mx.take, mx.take_along_axis, mx.put_along_axis = bounded_take, bounded_take_along, bounded_put_along
    mx.gather_mm, mx.gather_qmm = bounded_gather, bounded_gather_packed


def _integers(mx: Any) -> tuple[Any, ...]:
    return (mx.int8, mx.int16, mx.int32, mx.int64, mx.uint8, mx.uint16, mx.uint32, mx.uint64)
