"""What kernels are tried on: ranges, values at their extremes, and every form of output, with the expected integers."""

from __future__ import annotations

import os
from dataclasses import dataclass

import integer_ops as ops
import numpy as np
from hypothesis import Phase, settings
from hypothesis import strategies as st

from eq_tvm.schedules.common.epilogue import Output

ACTIVATION_RANGES = [(0, 127), (-63, 63), (0, 255), (-127, 127), (-128, 127)]
INT6_RANGES = [(0, 63), (-63, 63), (-31, 31)]
WIDE_RANGES = [(0, 4095), (-2047, 2047), (-300, 40)]  # no byte holds them
WEIGHT_LIMITS = [63, 127, 31]
WORST_CASES = {63: ACTIVATION_RANGES, 127: ACTIVATION_RANGES + WIDE_RANGES, 31: INT6_RANGES}  # ranges by weight limit
SEEDS = st.integers(0, 2**32 - 1)


def few(count: int) -> settings:
    """Settings for tests that compile: half of `count` examples, or all of them where FUZZ_SEED is set.

    The simplest is always one of them, so there are two at least. There is no search for smaller ones, which takes many
    minutes: the failed assertion names the one case of a list.
    """
    if "FUZZ_SEED" not in os.environ:
        count = max(min(2, count), -(-count // 2))
    return settings(max_examples=count, phases=[Phase.explicit, Phase.reuse, Phase.generate])


def stored_dtypes(low: int, high: int) -> list[str]:
    """The dtypes that hold the range."""
    if high - low > 255:
        return ["int16"]
    return [dtype for dtype in ("int8", "uint8") if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max]


@dataclass(frozen=True)
class Activations:
    """Integers in [low, high]. `values`: "random", "low" or "high" (all at that extreme), or "both" (mixed)."""

    low: int
    high: int
    dtype: str
    values: str = "random"

    def array(self, rng: np.random.Generator, shape) -> np.ndarray:
        pool = {"low": [self.low], "high": [self.high], "both": [self.low, self.high]}.get(self.values)
        drawn = rng.integers(self.low, self.high + 1, shape) if pool is None else rng.choice(pool, shape)
        return drawn.astype(self.dtype)


@st.composite
def activations(draw, values=("random", "low", "high", "both"), wide=True) -> Activations:
    """`wide`: those that no byte holds, too."""
    low, high = draw(st.sampled_from(ACTIVATION_RANGES + INT6_RANGES + WIDE_RANGES * wide))
    return Activations(low, high, draw(st.sampled_from(stored_dtypes(low, high))), draw(st.sampled_from(values)))


def weights(rng: np.random.Generator, shape, limit: int, extreme: bool, small: bool = False) -> np.ndarray:
    """int8 weights, output channels first. At the extreme: +limit in even output channels, -limit in odd ones.

    Small ones are near 0, as trained weights are, all but one.
    """
    if small:
        drawn = np.clip(np.rint(rng.laplace(0, limit / 16, shape)), -limit, limit)
        drawn.flat[0] = limit
        return drawn.astype("int8")
    if not extreme:
        drawn = rng.integers(-limit, limit + 1, shape)
        drawn.flat[0] = limit
        return drawn.astype("int8")
    signs = np.where(np.arange(shape[0]) % 2, -limit, limit).reshape(-1, *(1 for _ in shape[1:]))
    return np.broadcast_to(signs, shape).astype("int8")


@dataclass(frozen=True)
class Epilogue:
    """How a layer's accumulators are stored.

    Parameters
    ----------
    dtype : str
    low, high : float
        Bounds of the result.
    residual : Activations or None
    ratio : float
        Scale of the residual, relative to that of the result.
    gain : float
        Greatest accumulator, relative to what reaches the bounds.
    tied : bool
        Multipliers that are powers of two, so that products end in exactly .5.
    """

    dtype: str
    low: float
    high: float
    residual: Activations | None = None
    ratio: float = 1.0
    gain: float = 1.0
    tied: bool = False

    @property
    def output(self) -> Output:
        return Output(self.dtype, self.residual and self.residual.dtype, self._fixed_point()[0])

    def limits(self) -> np.ndarray:
        if self.dtype == "float32":
            return np.array([self.low, self.high], "float32")
        return np.array([self.low, self.high, self._fixed_point()[1]], "int32")

    def multipliers(self, rng: np.random.Generator, acc: np.ndarray, channels) -> np.ndarray:
        """Float64 multiplier, of shape `channels`, that brings accumulators near the bounds."""
        bound = max(abs(self.low), abs(self.high)) if np.isfinite([self.low, self.high]).all() else 100
        m = self.gain * bound / max(np.abs(acc.astype("float64")).max(), 1) * rng.uniform(0.3, 2, channels)
        return 2.0 ** np.floor(np.log2(m)) if self.tied else m

    def stored_multipliers(self, m: np.ndarray) -> np.ndarray:
        """float32 multipliers as the kernel takes them."""
        return np.float32(m * 2.0 ** self._fixed_point()[0])

    def expected(self, acc: np.ndarray, m: np.ndarray, raw: np.ndarray | None) -> np.ndarray:
        """The stored result; `m` (float64) is broadcast against `acc`."""
        if self.dtype == "float32":
            scaled = acc.astype("float32") * np.float32(m)
            return np.clip(scaled, np.float32(self.low), np.float32(self.high))
        if self.residual is None:
            return ops.requantize(acc, np.float32(m), self.low, self.high).astype(self.dtype)
        f, r = self._fixed_point()
        return ops.residual(acc, np.float32(m * 2.0**f), raw, r, f, self.low, self.high).astype(self.dtype)

    def _fixed_point(self) -> tuple[int, int]:
        if self.residual is None:
            return 0, 0
        room = int(max(abs(self.low), abs(self.high)))
        f, (r,) = ops.fixed_point([(self.ratio, max(abs(self.residual.low), abs(self.residual.high)))], room)
        return f, r


INT7 = Activations(0, 127, "int8")
PLAIN = Epilogue("int8", -63, 63)
_INTEGER_OUTPUTS = [
    ("int8", -63, 63),
    ("int8", 0, 127),
    ("int8", 0, 60),
    ("int8", -127, 127),
    ("int8", -128, 127),
    ("uint8", 0, 127),
    ("uint8", 0, 255),
    ("uint8", 0, 97),
]
_WIDE_OUTPUTS = [("int16", -2047, 2047), ("int16", 0, 4095), ("int16", -256, 3000)]
_FLOAT_OUTPUTS = [("float32", -np.inf, np.inf), ("float32", 0, np.inf), ("float32", 0, 6.0)]


def integer_outputs(wide=True) -> st.SearchStrategy[tuple[str, int, int]]:
    """(dtype, low, high) of a quantized result; `wide`: those that no byte holds, too."""
    return st.sampled_from(_INTEGER_OUTPUTS + _WIDE_OUTPUTS * wide)


@st.composite
def epilogues(draw) -> Epilogue:
    dtype, low, high = draw(st.sampled_from(_INTEGER_OUTPUTS * 2 + _WIDE_OUTPUTS + _FLOAT_OUTPUTS))
    gain, tied = draw(st.sampled_from([1.0, 1.0, 1.0, 0.01, 1000.0])), draw(st.booleans())
    if dtype == "float32" or not draw(st.booleans()):
        return Epilogue(dtype, low, high, gain=gain, tied=tied)
    ratio = draw(st.sampled_from([1.0, 0.3, 1.7, 0.001, 40.0, 5000.0]))
    return Epilogue(dtype, low, high, draw(activations()), ratio, gain, tied)


def extent(draw, kernel: int, stride: int, before: int, after: int, dilation: int, longest: int) -> int:
    """Size of an axis that gives 1 to `longest` windows, some with a rest that no window reaches."""
    windows, rest = draw(st.integers(1, longest)), draw(st.integers(0, stride - 1))
    return max(1, (windows - 1) * stride + dilation * (kernel - 1) + 1 - before - after + rest)
