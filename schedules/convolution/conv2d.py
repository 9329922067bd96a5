"""The shape of a convolution."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Conv2D:
    """The shape of a 2-D convolution: NHWC activations, OIHW weights."""

    batch: int
    height: int
    width: int
    in_channels: int
    out_channels: int
    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def out_height(self) -> int:
        """Rows of the result."""
        top, _, bottom, _ = self.padding
        return (self.height + top + bottom - self.dilation[0] * (self.kernel[0] - 1) - 1) // self.strides[0] + 1

    @property
    def out_width(self) -> int:
        """Columns of the result."""
        _, left, _, right = self.padding
        return (self.width + left + right - self.dilation[1] * (self.kernel[1] - 1) - 1) // self.strides[1] + 1

    @property
    def nhwc_shape(self) -> tuple[int, ...]:
        """Shape of the result, (N, OH, OW, C)."""
        return (self.batch, self.out_height, self.out_width, self.out_channels)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the direct kernel's result: the channels of several groups are an axis of their own."""
        channels = (self.out_channels,) if self.groups == 1 else (self.groups, self.out_channels // self.groups)
        return (self.batch, self.out_height, self.out_width, *channels)

    def flattened(self) -> Conv2D:
        """The same convolution with all pixels in one row, where each needs just the input pixel at its place."""
        if self.kernel != (1, 1) or self.strides != (1, 1) or any(self.padding):
            return self
        return replace(self, batch=1, height=1, width=self.batch * self.height * self.width)

    @property
    def is_column(self) -> bool:
        """Whether each row has one pixel, so that a `transposed` convolution has the same pixels in one row."""
        _, left, _, right = self.padding
        return self.height > 1 == self.width == self.kernel[1] and left == right == 0

    def transposed(self) -> Conv2D:
        """The same convolution with rows and columns exchanged."""
        top, left, bottom, right = self.padding
        return replace(
            self,
            height=self.width,
            width=self.height,
            kernel=self.kernel[::-1],
            strides=self.strides[::-1],
            padding=(left, top, right, bottom),
            dilation=self.dilation[::-1],
        )

    @property
    def macs(self) -> int:
        """Multiply-accumulates, those with padding included."""
        return (
            self.batch
            * self.out_height
            * self.out_width
            * self.out_channels
            * self.in_channels
            // self.groups
            * self.kernel[0]
            * self.kernel[1]
        )
