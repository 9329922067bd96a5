"""Which channels of which activations must be scaled alike for a network to compute the same."""

import numpy as np

from ..graph.network import Network, Node
from .channel_scalings import scaling

_SAME = {"bias_add", "relu", "max_pool2d", "avg_pool2d", "mean", "minimum", "prelu", "resize"}


class CoupledChannels:
    """Channels of activations, in classes that one factor can scale: positive factors commute with what is between.

    A convolution or dense layer separates its input's channels from its output's: its weights take up both factors. So
    does layer normalization, whose gamma and beta take up those of its output; its input's are 1.
    Additions couple channels, from operand to operand and through whole stages of a residual network, as the literature
    on pruning calls it.

    Attributes
    ----------
    classes : dict of int to numpy.ndarray (C,) int
        For each node whose channels (axis 1) are known, the class of each.
    frozen : set of int
        Classes whose factor must be 1: of inputs and outputs, and of what other operators read or make, but for those
        that `channel_scalings` follow.
    is_frozen : numpy.ndarray (classes,) bool
        The same, for all of them.
    """

    def __init__(self, net: Network) -> None:
        self._parent: list[int] = []
        self.classes: dict[int, np.ndarray] = {}
        frozen: list[np.ndarray] = []
        for i, node in enumerate(net.nodes):
            inputs = [self.classes[j] for j in node.inputs if j in self.classes]
            found = self._of(net, node, inputs) if len(inputs) == len(node.inputs) else None
            if scaling(node) is not None:
                frozen += inputs
                found = self._fresh(node.shape[1]) if node.op == "float" else self._fresh(1).repeat(node.shape[1])
            elif node.op == "layer_norm" and len(node.shape) == 2:  # its gamma and beta take the factor of the result
                frozen += inputs
                found = self._fresh(node.shape[1])
            elif found is None:
                frozen += inputs
                if node.is_tensor and len(node.shape) in (2, 4):
                    found = self._fresh(node.shape[1])
                    frozen.append(found)
            if found is not None:
                self.classes[i] = found
        frozen += [self.classes[i] for i in net.outputs if i in self.classes]
        self.classes = {i: np.array([self._root(c) for c in classes]) for i, classes in self.classes.items()}
        self.frozen: set[int] = {self._root(c) for classes in frozen for c in classes}
        self.is_frozen = np.isin(np.arange(len(self)), list(self.frozen))

    def freeze(self, node: int) -> None:
        """Let the channels of a node's result be scaled by 1 only."""
        self.frozen.update(self.classes[node].tolist())
        self.is_frozen[self.classes[node]] = True

    def __len__(self) -> int:
        return len(self._parent)

    def _of(self, net: Network, node: Node, inputs: list[np.ndarray]) -> np.ndarray | None:
        """Classes of a node's result; None where they don't follow from those of its inputs."""
        shapes = [net.nodes[j].shape for j in node.inputs]
        if node.op in ("conv2d", "dense"):
            groups = 1 if node.op == "dense" else int(node.expr.attrs.groups)
            return self._fresh(node.shape[1]) if groups in (1, shapes[0][1]) else None
        if node.op in _SAME or (node.op == "clip" and float(node.expr.args[1].value) == 0):
            return inputs[0]
        if node.op == "add" and shapes[0] == shapes[1]:
            return self._couple(*inputs)
        if node.op == "concat" and int(node.expr.attrs.axis) % len(node.shape) == 1:
            return np.concatenate(inputs)
        if node.op == "strided_slice" and not any(int(axis.value) % len(node.shape) == 1 for axis in node.expr.args[1]):
            return inputs[0]
        if node.op == "pad":
            before, after = (int(w) for w in list(node.expr.attrs.pad_width)[2:4])
            return np.concatenate([self._fresh(before), inputs[0], self._fresh(after)])
        if node.op == "reshape" and len(node.shape) == 2 and node.shape[1] == np.prod(shapes[0][1:]):
            return np.repeat(inputs[0], node.shape[1] // shapes[0][1])  # channels stand first
        return None

    def _fresh(self, count: int) -> np.ndarray:
        start = len(self._parent)
        self._parent += range(start, start + count)
        return np.arange(start, start + count)

    def _root(self, c: int) -> int:
        while self._parent[c] != c:
            self._parent[c] = c = self._parent[self._parent[c]]
        return c

    def _couple(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        for x, y in zip(a, b, strict=True):
            self._parent[self._root(x)] = self._root(y)
        return a
