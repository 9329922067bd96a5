"""What all passes before calibration share."""

import numpy as np
import tvm

from ..quantized.calibration_images import enough_images
from ..quantized.problem import Problem
from ..quantized.progress import Progress, no_progress
from ..quantized.quantizers import check_scheme


class Preparation:
    """Base of passes that move ranges with the help of calibration images.

    Parameters
    ----------
    images, scheme, activation_range, progress
        As for the calibration that follows: see `Calibration`.
    """

    def __init__(
        self,
        images: dict[str, np.ndarray],
        *,
        scheme: str = "int7",
        activation_range: str = "unsigned",
        progress: Progress = no_progress,
    ) -> None:
        check_scheme(scheme, activation_range)
        self.images, self.scheme, self.activation_range, self.progress = images, scheme, activation_range, progress

    def problem(self, mod: tvm.IRModule) -> Problem:
        """What of a canonical module is to be quantized, and as many of the images as are enough to move ranges."""
        problem = Problem.of(mod, self.images, self.scheme, self.activation_range)
        return problem.subset(enough_images(problem.net, problem.count))
