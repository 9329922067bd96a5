"""Gates that are open or closed at random, with probabilities that are learned: hard concrete distributions.

Louizos et al., arXiv 1712.01312, section 2.2, with its constants; what they sample is rounded, so that a gate is
open or closed and not between.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_BETA, _GAMMA, _ZETA = 2 / 3, -0.1, 1.1
_OPEN = 0.5


class Gates(nn.Module):
    """Some gates, each of which is of use only where all before it are open.

    Parameters
    ----------
    probabilities : sequence of float
        Of being open, to start with.
    """

    def __init__(self, probabilities: list[float]) -> None:
        super().__init__()
        self.log_alpha = nn.Parameter(torch.tensor(probabilities).logit())

    @property
    def probabilities(self) -> Tensor:
        """(gates,) of being open, and all before it as well."""
        return torch.sigmoid(self.log_alpha).cumprod(0)

    def sampled(self) -> Tensor:
        """(gates,) 1 where a gate and all before it are open, else 0; with the gradient of what was sampled."""
        uniform = torch.rand_like(self.log_alpha).clamp(1e-6, 1 - 1e-6)
        concrete = torch.sigmoid((uniform.logit() + self.log_alpha) / _BETA)
        stretched = (concrete * (_ZETA - _GAMMA) + _GAMMA).clamp(0, 1)
        hard = (stretched > _OPEN).float()
        return (hard + (stretched - stretched.detach())).cumprod(0)
