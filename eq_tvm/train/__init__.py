"""Quantization-aware training, with PyTorch (the extra `train`): networks trained as they will compute.

What is trained is the prepared canonical module, node by node, with the quantizers of the integer program, so that what
is written as QDQ compiles to the integers that training saw. Nothing outside imports from here but the command `train`.
"""

from importlib.util import find_spec

if find_spec("torch") is None:
    raise ModuleNotFoundError(
        "training needs PyTorch: pip install 'eq-tvm[train]', or torch for CPUs alone", name="torch"
    )
