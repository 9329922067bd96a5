"""A bundle's network on this machine, even where the bundle is for another."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from eq_tvm import host
from eq_tvm.artifacts import bundle as bundles
from eq_tvm.artifacts.bundle import Bundle
from eq_tvm.building.canonical import import_canonical, pass_errors
from eq_tvm.building.turns import one_at_a_time
from eq_tvm.running.runtime import Model, load
from eq_tvm.targets import get_target

if TYPE_CHECKING:
    import tvm


@one_at_a_time
def annotated(bundle: Bundle) -> tvm.IRModule | None:
    """The quantized network in the bundle; None where there is none."""
    if bundle.not_exported:
        return None
    from eq_tvm import pipeline

    assert bundle.path is not None
    module, _, _ = import_canonical(bundle.path / bundles.NETWORK)
    with pass_errors():
        return pipeline.take_scales(module)[0]


def model_here(bundle: Bundle, network: tvm.IRModule | None = None) -> tuple[Model, bool] | None:
    """The bundle itself where it runs here (True), else its network compiled for this machine (False).

    Parameters
    ----------
    bundle : Bundle
    network : tvm.IRModule, optional
        From `annotated`, where that is known.

    Returns
    -------
    (Model, bool), or None where neither can be
    """
    if runs_here(bundle):
        return load(bundle), True
    network = annotated(bundle) if network is None else network
    if network is None:
        return None
    from eq_tvm import pipeline

    with pass_errors():
        executable = pipeline.build(network, get_target("native"))[0]
    return Model(executable, bundle.inputs, bundle.outputs), False


def runs_here(bundle: Bundle) -> bool:
    """Whether this machine is one that it is for."""
    target = bundle.target
    cross = target["architecture"] != platform.machine() or "android" in str(target["triple"])
    return not cross and not host.missing_features(target["instructions"])
