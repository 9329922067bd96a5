"""How often outputs decide as labels and a reference do, and how close they are to the reference."""

from __future__ import annotations

import numpy as np

from eq_tvm.errors import UserError


class Scores:
    """Counts what `eq_tvm.evaluate.evaluate` returns, run by run; `count` is the number of images."""

    def __init__(self) -> None:
        self.count = 0
        self._correct: list[float] = []
        self._among_five: list[float] = []
        self._agreeing: list[float] = []
        self._cosines: list[float] = []

    def add(
        self,
        outputs: list[np.ndarray],
        labels: np.ndarray | int | None,
        expected: list[np.ndarray] | None,
        images: int = 1,
    ) -> None:
        """Take the outputs of one run, the labels of its images, and the reference's outputs, of the same shapes.

        Raises
        ------
        UserError
            A label is none of the classes.
        """
        decisions = _decisions(outputs[0], images)
        if labels is not None and decisions.size == images:
            check_labels(labels, outputs[0].size // images)
        self.count += images
        if labels is not None and decisions.size == images:
            self._correct += (decisions == labels).astype(float).tolist()
            self._among_five += _among_highest(outputs[0], labels, images)
        if expected:
            if decisions.size:
                self._agreeing.append(float(np.mean(decisions == _decisions(expected[0], images))))
            self._cosines.append(float(np.mean([_cosine(o, e) for o, e in zip(outputs, expected, strict=True)])))

    def state(self) -> tuple[int, list[list[float]]]:
        """What `join` takes."""
        return self.count, self._lists

    def join(self, state: tuple[int, list[list[float]]]) -> None:
        """Add what was counted of the runs that follow."""
        count, lists = state
        self.count += count
        for mine, more in zip(self._lists, lists, strict=True):
            mine += more

    @property
    def _lists(self) -> list[list[float]]:
        return [self._correct, self._among_five, self._agreeing, self._cosines]

    @property
    def top1(self) -> float | None:
        """Share of images whose highest output is the label's; None without labels or one vector of scores."""
        return _mean(self._correct)

    @property
    def top5(self) -> float | None:
        """The same for the five highest; None also with five classes or fewer."""
        return _mean(self._among_five)

    @property
    def agreement(self) -> float | None:
        """Share of decisions that the reference makes, too; None without a reference."""
        return _mean(self._agreeing)

    def result(self) -> dict[str, float | int | None]:
        """As `eq_tvm.evaluate.evaluate` returns it."""
        return {
            "top1": self.top1,
            "top5": self.top5,
            "agreement": self.agreement,
            "cosine": _mean(self._cosines),
            "n": self.count,
        }

    def in_words(self) -> str:
        """The same in one line."""
        top1, _, agreement, cosine, count = self.result().values()
        words = [
            top1 is not None and f"top-1 {top1:.2%}",
            agreement is not None and f"agreement {agreement:.2%}",
            cosine is not None and f"cosine {cosine:.6f}",
        ]
        return f"{count} image{'s' * (count != 1)}: {', '.join(word for word in words if word) or 'no scores'}"


def _among_highest(output: np.ndarray, labels: np.ndarray | int, images: int, count: int = 5) -> list[float]:
    """Whether each image's label is among so many highest scores; of equal ones the first classes are the highest."""
    scores = output.reshape(images, -1)
    if scores.shape[1] <= count:
        return []
    highest = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, :count]
    found: list[float] = (highest == np.reshape(labels, (-1, 1))).any(axis=1).astype(float).tolist()
    return found


def check_labels(labels: np.ndarray | int, classes: int) -> None:
    """UserError where one is none of so many classes."""
    highest = np.max(labels)
    if highest >= classes > 1:  # outputs that are decisions do not say how many there are
        raise UserError(f"an image has the label {highest}, but the network has the classes 0 to {classes - 1}")


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _decisions(output: np.ndarray, images: int = 1) -> np.ndarray:
    """The class of each score vector: of the whole output, or along its last axis where it has several vectors.

    Integers of 32 or 64 bits and truth values are decisions themselves; one float is none.
    """
    if images > 1 and output.shape[:1] == (images,):
        return np.concatenate([_decisions(each) for each in output])
    vector = np.squeeze(output)
    if output.dtype.kind == "b" or (output.dtype.kind in "iu" and output.dtype.itemsize >= 4):
        return vector.ravel()
    return np.atleast_1d(np.argmax(vector, axis=-1)).ravel() if vector.ndim else np.empty(0, np.int64)


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine similarity; 1 of two zero vectors, 0 of one."""
    a, b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norms) if norms else float(not a.any() and not b.any())
