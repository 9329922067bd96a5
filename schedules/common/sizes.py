"""Small pieces that several kernels share."""

PARALLEL_FROM = 16384  # elements of work below which starting threads costs more than it saves
CACHED = 16384  # bytes of weights that stay in the first cache of every processor beside the activations


def innermost_width(extent: int, lanes: int) -> int:
    """The widest vector of at most `lanes` elements that divides `extent`: a power of two, or all of a short extent.

    Short ones are not left as loops because LLVM 22 makes masked vectors of those below 16, and for AVX-512 it stores
    too many bytes where a mask leaves one int8 (llvm-project issue 179489).
    """
    if extent <= min(lanes, 16):
        return extent
    while extent % lanes:
        lanes //= 2
    return lanes


def largest_divisor(extent: int, most: int) -> int:
    """The largest divisor of `extent` that is not above `most`."""
    return max(n for n in range(1, min(extent, most) + 1) if extent % n == 0)
