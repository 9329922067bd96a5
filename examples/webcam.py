"""What a camera sees, image by image: the loop that a program on a board begins with.

    python webcam.py net-rpi4.eqtvm --labels imagenet            # camera 0; needs opencv (Debian: python3-opencv)
    python webcam.py net-rpi4.eqtvm --source street.mp4 --draw seen/
    python webcam.py net-rpi4.eqtvm --source images/
    python webcam.py

A video needs opencv too; a directory of images or an animated GIF does not. Without a bundle the network of digits is
compiled, and shown its own images. One thread grabs frames while another computes, so that what is shown is never old.
"""

import argparse
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

import eq_tvm
from eq_tvm import example
from eq_tvm.inputs.image_files import read_image
from eq_tvm.inputs.input_form import InputForm
from eq_tvm.tasks.labels import read_labels
from eq_tvm.tasks.seen import View


def main() -> None:
    """Run a bundle on frame after frame."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", type=Path)
    parser.add_argument("--source", default="0", help="a camera's number, a video, a GIF, or a directory of images")
    parser.add_argument("--labels", help="imagenet, coco, or a file of names")
    parser.add_argument("--draw", type=Path, metavar="DIR", help="write frames with what was found there")
    parser.add_argument("--frames", type=int, metavar="N", help="stop after so many")
    given = parser.parse_args()
    if given.bundle is None:
        given.bundle, given.source = eq_tvm.compile(output="digits-native.eqtvm").path, str(_digits("digits.gif"))

    model = eq_tvm.load(given.bundle)
    form = InputForm(model.inputs[0], model.preprocess)
    view = View(names=read_labels(given.labels) if given.labels else None, labels=given.labels or "", top=1)
    start = time.perf_counter()
    for count, frame in enumerate(frames(given.source), start=1):
        seen = view.see(model.run(frame), form.placement(frame))
        print(f"{count:5} {count / (time.perf_counter() - start):6.1f} frames/s  {'; '.join(seen.lines)}", flush=True)
        if given.draw:
            given.draw.mkdir(exist_ok=True)
            seen.drawn_on(frame).save(given.draw / f"{count:05}.png")
        if count == given.frames:
            break


def frames(source: str) -> Iterator[np.ndarray]:
    """Images, uint8 RGB (H, W, 3), from wherever they come."""
    path = Path(source)
    if path.is_dir():
        yield from (read_image(file) for file in sorted(path.iterdir()))
    elif path.suffix.lower() == ".gif":
        with Image.open(path) as animation:
            yield from (np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(animation))
    elif path.exists() or source.isdigit():
        try:
            import cv2
        except ImportError:
            raise SystemExit("error: cameras and videos need OpenCV: pip install opencv-python-headless") from None

        capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
        if not capture.isOpened():
            raise SystemExit(f"error: no frames from {source}: is the camera there, and in no other program?")
        yield from _latest(capture) if source.isdigit() else _each(capture)
    else:
        raise SystemExit(f"error: no such file: {source}")


def _each(capture) -> Iterator[np.ndarray]:
    while (read := capture.read())[0]:
        yield read[1][:, :, ::-1].copy()  # opencv's order is BGR


def _latest(capture) -> Iterator[np.ndarray]:
    """The newest frame of a camera, which does not wait for us."""
    newest: list[np.ndarray] = []
    there = threading.Condition()

    def grab() -> None:
        for frame in _each(capture):
            with there:
                newest[:] = [frame]
                there.notify()
        with there:
            newest[:] = []
            ended.set()
            there.notify()

    ended = threading.Event()
    threading.Thread(target=grab, daemon=True).start()
    while True:
        with there:
            there.wait_for(lambda: newest or ended.is_set())
            if not newest:
                return
            frame = newest.pop()
        yield frame


def _digits(name: str) -> Path:
    with np.load(example.EVAL) as data:
        pictures = [Image.fromarray(image) for image in data["images"][:20]]
    pictures[0].save(name, save_all=True, append_images=pictures[1:], duration=200)
    return Path(name)


if __name__ == "__main__":
    try:
        main()
    except eq_tvm.UserError as error:
        sys.exit(f"error: {error}")
