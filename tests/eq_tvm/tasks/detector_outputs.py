"""One box, as each kind of detector says it."""

import numpy as np

# Of 20 x 10 pixels around (16, 40), of class 1 of 2, in an image of 64 x 32.
BOX = [6, 35, 26, 45]


def _yolo():
    return [np.array([[[16.0, 5], [40, 5], [20, 2], [10, 2]]]), np.array([[[0.1, 0], [0.9, 0]]])]


def _yolox():
    result = np.zeros((1, 8 * 4 + 4 * 2 + 2, 7))
    result[0, 4 * 4 + 1] = [16 / 8 - 1, 40 / 8 - 4, np.log(20 / 8), np.log(10 / 8), 1, 0.1, 0.9]  # row 4, column 1
    return [result]


def _picodet():
    sizes = [8 * 4, 4 * 2, 2, 1]
    scores, odds = [np.zeros((1, size, 2)) for size in sizes], [np.zeros((1, size, 4 * 4)) for size in sizes]
    odds[0] -= 50
    scores[0][0, 5 * 4 + 1] = [0.1, 0.9]  # around (12, 44), so 6, 9, 14 and 1 to the sides: parts of 8
    for side, away in enumerate((6, 9, 14, 1)):
        low = away // 8
        odds[0][0, 5 * 4 + 1, 4 * side + low : 4 * side + low + 2] = np.log([1 - away / 8 % 1, away / 8 % 1])
    return scores + odds


def _centerface():
    heat, size, offset = np.zeros((1, 1, 16, 8)), np.zeros((1, 2, 16, 8)), np.zeros((1, 2, 16, 8))
    heat[0, 0, 9, 3] = 0.9  # of row 9 and column 3: around (14, 38)
    size[0, :, 9, 3], offset[0, :, 9, 3] = np.log([10 / 4, 20 / 4]), [2 / 4, 2 / 4]
    return [heat, size, offset, np.zeros((1, 10, 16, 8))]


def _yolov8():
    boxes, scores = _yolo()
    return [np.pad(np.concatenate([boxes, scores], axis=1), [(0, 0), (0, 0), (0, 40)])]  # one of 42


def _yolov8_masks():
    (first,) = _yolov8()
    return [np.concatenate([first, np.full((1, 32, 42), 9.0)], axis=1), np.zeros((1, 32, 16, 8))]


def _yolov5():
    result = np.zeros((1, 126, 7))
    result[0, 5] = [16, 40, 20, 10, 0.95, 0.1, 0.9]
    return [result]


def _ssd():
    scores, boxes = np.zeros((1, 30, 3)), np.zeros((1, 30, 4))
    scores[0, 7], boxes[0, 7] = [0.1, 0.1, 0.8], np.divide(BOX, [32, 64, 32, 64])
    return [boxes, scores]


def _boxes():
    return [np.float32([BOX, [0, 0, 9, 9]]), np.array([1, 0]), np.float32([0.9, 0.01])]


OUTPUTS = {
    "yolo": _yolo,
    "yolo of v8": _yolov8,
    "yolo of v8 with masks": _yolov8_masks,
    "yolo of v5": _yolov5,
    "yolox": _yolox,
    "picodet": _picodet,
    "centerface": _centerface,
    "ssd": _ssd,
    "boxes": _boxes,
}
