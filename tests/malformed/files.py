"""Everything beside the network that is wrong: preprocessing, images, tensors, targets, tuning, bundles, other formats.

Each writes what a command reads into a folder that has a sound ``net.onnx``, ``good.npz`` (images), ``good.yaml``,
``good.eqtvm`` (a bundle) and ``good.tflite`` already, and returns the command.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

Make = Callable[[Random, Path], list[str]]
COMPILE = ["compile", "net.onnx", "--no-verify", "--output", "out"]
RUN = ["run", "good.eqtvm", "--output", "out.npz", "--input"]
EVALUATE = ["evaluate", "good.eqtvm", "--data"]


class _Harm:
    """What a pickle would do if it was loaded."""

    def __reduce__(self):
        return os.mkdir, ("harm",)


def _yaml(random: Random, valid: dict[str, str]) -> str:
    """A mapping with something wrong in it."""
    wrong = [
        *("", "null", "[]", "{}", "[RGB]", "[[[[]]]]", "1e400", "-1", ".nan", "[.inf, 1, 2]", "2020-99-99", "0x", "~"),
        *("!!python/object/apply:os.mkdir [harm]", "!!binary aGk=", "!!set {a}", "&a [*a]", "*nobody", '"\\ud800"'),
        *("[100000, 100000]", "[0, 0]", "[-5, 5]", "[1.5, 2]", "[true, false]", "99999999999999999999999999", "1:2:3"),
        *("[" * 3000, "{a: " * 500, "'", "\t", "- a\n- b", "&x {<<: *x}", "[1, 2]", "'\x07'", "2024-01-01", "yes"),
    ]
    entries = dict(valid)
    what = random.randrange(8)
    if what == 0:
        bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
        for last, name in zip("abcdefgh", "bcdefghi", strict=True):
            bomb += f"{name}: &{name} [{', '.join(['*' + last] * 9)}]\n"
        return bomb
    if what == 1:
        return random.choice(
            [*wrong, "just text", "- a list", "%YAML 9.9\n---\n", "\x00", "---\na: 1\n---\nb: 2\n", ":::"]
        )
    if what == 2:
        del entries[random.choice(list(entries))]
    elif what == 3:
        entries[random.choice(["extra", "Channels", "é", "channels ", "<<", "? [a, b]\n"])] = "1"
    else:
        entries[random.choice(list(entries))] = random.choice(wrong)
    return "".join(f"{key}: {value}\n" for key, value in entries.items())


_PREPROCESS = {
    "channels": "RGB",
    "mean": "[100.0, 100, 100]",
    "std": "[50.0, 50, 50]",
    "resize": "[8, 8]",
    "layout": "NCHW",
}


def preprocessing(random: Random, folder: Path) -> list[str]:
    """YAML that is hostile, or says nothing that can be done."""
    (folder / "p.yaml").write_text(_yaml(random, _PREPROCESS), encoding="utf-8", errors="surrogatepass")
    if random.random() < 0.1:
        (folder / "p.yaml").write_bytes(random.randbytes(200))
    if random.random() < 0.3:
        return [*EVALUATE, "good.npz", "--preprocess", "p.yaml"]
    return [*COMPILE, "--calibration", "good.npz", "--preprocess", "p.yaml"]


_TARGET = {
    "description": "a machine",
    "triple": "x86_64-linux-gnu",
    "cpu": "haswell",
    "attrs": '["+avx2"]',
    "instructions": "{pmaddubsw: 44, pmaddwd-256: 22}",
    "cross_compiler": "g++",
    "l1": "32768",
    "l2": "262144",
    "l3": "0",
    "threads": "4",
}


def targets(random: Random, folder: Path) -> list[str]:
    """The same for a file of targets."""
    valid = dict(_TARGET)
    if random.random() < 0.4:
        valid[random.choice(["cpu", "attrs", "triple", "instructions", "cross_compiler"])] = random.choice(
            [
                *("nonsense", '["+nonsense"]', "cortex-a53", "generic", "'x; rm -rf'", "{sdot: 1}", "avr", "wasm32-x"),
                *("''", '["avx2"]', "{vpdpbusd-512: 128}", "aarch64-linux-gnu", "arm-linux", "i386", "{alias: native}"),
                *("{pmaddubsw: 1e30}", "{pmaddubsw: -1}", "/bin/false", "{}", "x86_64-windows-msvc", "riscv64"),
            ]
        )
    text = _yaml(random, valid)
    if random.random() < 0.8:
        text = "mine:\n" + "".join(f"  {line}\n" for line in text.splitlines())
    (folder / "t.yaml").write_text(text, encoding="utf-8", errors="surrogatepass")
    target = random.choice(["mine", "mine", "native", "nobody", "", "../x", "é"])
    return [*COMPILE, "--calibration", "random", "--targets", "t.yaml", "--target", target]


def _arrays(random: Random) -> dict[str, np.ndarray]:
    numbers = np.random.default_rng(random.getrandbits(32))
    images = numbers.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    floats = numbers.standard_normal((4, 3, 8, 8)).astype(np.float32)
    bad = np.array(floats)
    bad.flat[random.randrange(bad.size)] = random.choice([np.nan, np.inf, 3e38])
    return random.choice(
        [
            {},
            {"nobody": images},
            {"images": images[0, 0, 0, 0]},
            {"images": images[:0]},
            {"images": images[:, :0]},
            {"images": images.astype("U3")},
            {"images": images.astype("M8[s]")},
            {"images": images.astype(np.complex64)},
            {"images": np.zeros(4, [("a", "i4"), ("b", "f8")])},
            {"images": bad},
            {"images": floats.astype(">f4")},
            {"images": floats[:, :2]},
            {"images": images[..., :2]},
            {"images": np.zeros((4, 8, 8, 3), np.int64) - 1},
            {"images": np.full((4, 3, 8, 8), 1e300)},
            {"images": images, "labels": np.array([0, 1])},
            {"images": images, "labels": np.array([0.5] * 4)},
            {"images": images, "labels": np.array([-1, 0, 2**63 - 1, 1])},
            {"images": images, "labels": np.array([2**64 - 1] * 4, np.uint64)},
            {"images": images, "labels": np.array(["cat"] * 4)},
            {"x": floats, "y": floats},
            {"x": floats[0], "images": images},
            {"images": np.array([_Harm()], object)},
        ]
    )


def arrays(random: Random, folder: Path) -> list[str]:
    """Archives of arrays: pickles, bombs, encrypted or damaged ones, with wrong names, shapes, numbers."""
    file = folder / "a.npz"
    content = io.BytesIO()
    np.savez_compressed(content, **_arrays(random))
    damaged = bytearray(content.getvalue())
    what = random.randrange(9)
    if what == 0:
        damaged[random.randrange(len(damaged))] ^= 1 << random.randrange(8)
    elif what == 1:
        del damaged[random.randrange(len(damaged)) :]
    elif what == 2:
        damaged[:] = random.choice([b"", b"PK\x05\x06" + bytes(18), b"x" * 1000, pickle.dumps(_Harm()), b"\x93NUMPY"])
    elif what == 3:  # a header that claims more than there is
        shape = random.choice(
            ["(4, 100000, 100000, 3)", "(-1,)", "(2, 9999999999999)", "('a',)", "()", "__import__('os')"]
        )
        header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
        damaged[:] = _zip({"images.npy": b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(100)})
    elif what == 4:
        zeros = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '|u1', 'fortran_order': False, 'shape': (5000000000,), }".ljust(
            117
        )
        damaged[:] = _zip({"images.npy": zeros + b"\n" + bytes(50_000_000)}, repeat=20)
    elif what == 5:  # encrypted, as the flag says
        for place in range(len(damaged) - 4):
            if damaged[place : place + 4] == b"PK\x01\x02":
                damaged[place + 8] |= 1
            if damaged[place : place + 4] == b"PK\x03\x04":
                damaged[place + 6] |= 1
    file.write_bytes(damaged)
    return random.choice(
        [
            [*COMPILE, "--calibration", "a.npz", "--preprocess", "good.yaml"],
            [*EVALUATE, "a.npz"],
            [*RUN, "a.npz"],
        ]
    )


def _zip(entries: dict[str, bytes], repeat: int = 1) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            with archive.open(name, "w", force_zip64=True) as entry:
                for _ in range(repeat):
                    entry.write(data)
    return content.getvalue()


def single_arrays(random: Random, folder: Path) -> list[str]:
    """The same for one array without an archive."""
    with (folder / "a.npy").open("wb") as file:
        values = next(iter(_arrays(random).values()), np.zeros(3))
        np.lib.format.write_array(file, values, allow_pickle=True)
    content = bytearray((folder / "a.npy").read_bytes())
    if random.random() < 0.5:
        content[random.randrange(min(128, len(content)))] ^= 1 << random.randrange(8)
    if random.random() < 0.2:
        del content[random.randrange(len(content)) :]
    (folder / "a.npy").write_bytes(content)
    return [*RUN, "a.npy"]


def images(random: Random, folder: Path) -> list[str]:
    """Files that are no images, damaged or enormous ones, and what is no file."""
    file = folder / f"i.{random.choice(['png', 'jpg', 'gif', 'tif', 'bmp', 'webp', 'ppm'])}"
    picture = Image.fromarray(np.random.default_rng(random.getrandbits(32)).integers(0, 256, (9, 7, 3), dtype=np.uint8))
    what = random.randrange(9)
    if what == 0:
        file.write_bytes(random.randbytes(random.randrange(0, 3000)))
    elif what in (1, 2, 3):
        picture.save(file)
        content = bytearray(file.read_bytes())
        if what == 1:
            del content[random.randrange(len(content)) :]
        for _ in range(random.choice([1, 5, 50]) if content else 0):
            content[random.randrange(len(content))] ^= 1 << random.randrange(8)
        file.write_bytes(content)
    elif what == 4:
        extent = random.choice([0, 1, 20_000, 60_000, 2**31 - 1])
        file.write_bytes(_png(extent, extent))
    elif what == 5:
        Image.fromarray(np.arange(63, dtype=np.uint16).reshape(9, 7) * 1000).save(folder / "i.png")
        file = folder / "i.png"
    elif what == 6:
        file = folder / random.choice(["fifo.png", "loop.png", "folder.png", "none.png", "zero.png"])
        make = {
            "fifo.png": lambda: os.mkfifo(file),
            "loop.png": lambda: file.symlink_to(file),
            "folder.png": file.mkdir,
            "zero.png": lambda: file.symlink_to("/dev/zero"),
        }
        make.get(file.name, bool)()
    elif what == 7:
        picture.save(folder / "i.gif", save_all=True, append_images=[picture] * 3)
        file = folder / "i.gif"
    else:
        picture.resize((1, 1)).convert(random.choice(["1", "L", "P", "LA", "CMYK", "RGBA"])).save(folder / "i.tif")
        file = folder / "i.tif"
    if random.random() < 0.5:
        return [*RUN, file.name]
    (folder / "images").mkdir()
    if file.exists() or file.is_symlink():
        file.rename(folder / "images" / file.name)
    return random.choice(
        [[*COMPILE, "--calibration", "images", "--preprocess", "good.yaml"], [*EVALUATE, "images"]],
    )


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10**6)))
        + chunk(b"IEND", b"")
    )


def lists(random: Random, folder: Path) -> list[str]:
    """CSV files with wrong columns, labels, files."""
    Image.new("RGB", (8, 8)).save(folder / "i.png")
    wrong = [
        "",
        "x",
        "-1",
        "1.5",
        str(2**63),
        str(2**70),
        "1e3",
        "٣",
        "nan",
        " 1 ",
        "i.png",
        "/dev/zero",
        "../i.png",
        "a\0b",
        "é" * 300,
    ]
    columns = random.choice(
        [["file", "label"], ["file"], ["label"], ["file", "class"], ["File ", "LABEL"], ["file", "file"], []]
    )
    with (folder / "l.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=random.choice(",,,;\t"))
        writer.writerow(columns)
        for _ in range(random.randrange(4)):
            row = ["i.png", "1", "extra"][: random.choice([0, 1, 2, 2, 3])]
            if row and random.random() < 0.7:
                row[random.randrange(len(row))] = random.choice(wrong)
            writer.writerow(row)
    if random.random() < 0.2:
        (folder / "l.csv").write_bytes(
            random.choice([random.randbytes(100), b'"' * 9, b'file,label\n"i.png', b"\xff\xfef\0i\0", b"a" * 200_000])
        )
    return random.choice([[*COMPILE, "--calibration", "l.csv", "--preprocess", "good.yaml"], [*EVALUATE, "l.csv"]])


def tuning(random: Random, folder: Path) -> list[str]:
    """Files of measured kernels that are none."""
    text = random.choice(
        [
            *("", "[]", "{}", "null", "1", '{"a": 1}', '{"a": []}', '{"a": {"b": 1}}', '{"a": {"b": {}}}', "[" * 9000),
            *('{"a": {"b": {"kernel": 1, "us": 2}}}', "{", "\x00", '{"a": NaN}', '{"a": {"b": null}}', "9" * 9999),
        ]
    )
    (folder / "t.json").write_text(text)
    if random.random() < 0.3:
        processor = json.loads((folder / "processor.json").read_text())
        entry = random.choice([1, [], None, {}, {"kernel": []}, {"kernel": "nobody"}, {"kernel": {}, "us": "x"}])
        (folder / "t.json").write_text(json.dumps({processor: random.choice([entry, {"dense 1": entry}])}))
    return [
        *COMPILE,
        "--calibration",
        "random",
        "--tuning-file",
        random.choice(["t.json", "t.json", "folder/none.json", "."]),
    ]


def bundles(random: Random, folder: Path) -> list[str]:
    """Bundles that were altered, by somebody who can write hashes, too."""
    path = folder / "good.eqtvm"
    what = random.randrange(8)
    if what == 0:
        file = random.choice(sorted(path.iterdir()))
        content = bytearray(file.read_bytes())
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)
        file.write_bytes(content)
    elif what == 1:
        file = random.choice(sorted(path.iterdir()))
        content = file.read_bytes()
        file.write_bytes(content[: random.randrange(len(content))])
    elif what == 2:
        random.choice(sorted(path.iterdir())).unlink()
    elif what == 3:
        text = random.choice(
            ["", "[]", "{}", "[" * 100_000, '{"a":' * 100_000, "1" * 10**6, '{"schema": 1e999}', "\x00"]
        )
        (path / "bundle.json").write_text(text)
    else:
        _change_description(random, path)
    return random.choice(
        [
            [*RUN, "good.npy"],
            [*EVALUATE, "good.npz"],
            ["bench", "good.eqtvm", "--seconds", "0.01"],
            ["export", "good.eqtvm", "out.onnx"],
            ["analyze", "good.eqtvm"],
            ["verify", "good.eqtvm"],
        ]
    )


def _change_description(random: Random, path: Path) -> None:
    """Something else somewhere, with a hash that fits."""
    description = json.loads((path / "bundle.json").read_text())
    wrong = [
        None,
        1,
        -1,
        2**70,
        1.5,
        "",
        "x",
        "../../secret",
        "/etc/passwd",
        [],
        {},
        [[]],
        True,
        "a\0b",
        ["x"] * 5,
        {"a": 1},
    ]
    place = description
    while True:
        key = random.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if isinstance(place[key], dict | list) and place[key] and random.random() < 0.7:
            place = place[key]
            continue
        if isinstance(place, dict) and random.random() < 0.2:
            del place[key]
        elif isinstance(place, dict) and random.random() < 0.1:
            place[random.choice(["extra", "", "é"])] = random.choice(wrong)
        else:
            place[key] = random.choice(wrong)
        break
    files = description.get("files")
    if isinstance(files, dict) and isinstance(files.get("bundle.json"), dict):
        others = {name: entry for name, entry in files.items() if name != "bundle.json"}
        text = json.dumps({**description, "files": others}, sort_keys=True)
        files["bundle.json"]["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (path / "bundle.json").write_text(json.dumps(description))


def options(random: Random, folder: Path) -> list[str]:
    """Values that no option has."""
    numbers = ["-1", "0", "1e9", "nan", "inf", "x", "", "99999999999999999999", "1,2", "0x10", "٣", "-0.0", "1e400"]
    names = ["", ".", "..", "/", "/dev/null", "none/x", "x" * 300, "a\nb", "net.onnx", "good.npz", "/proc/x", "~nobody"]
    option = random.choice(
        [
            *(
                "--images",
                "--min-cosine",
                "--max-drop",
                "--scheme",
                "--method",
                "--activation-range",
                "--keep",
                "--input",
            ),
            *("--constant", "--artifact", "--optimize", "--target", "--output", "--dump-passes", "--tuning-file"),
            *("--calibration", "--preprocess", "--targets"),
        ]
    )
    values = [
        *numbers,
        *names,
        "x=1,3,8,8",
        "x=0",
        "x=-1,3,8,8",
        "x=1,3,9999999,9999999",
        "=",
        "x=",
        "conv1=int8",
        "conv1=x",
    ]
    command = ["compile", "net.onnx", "--no-verify", "--calibration", "random", "--output", "out"]
    return [*command, option, random.choice(values)]


def options_of_others(random: Random, folder: Path) -> list[str]:
    """The same for the other commands."""
    numbers = ["-1", "0", "1e9", "nan", "inf", "x", "", "1000000000", "99999999999999999999"]
    return random.choice(
        [
            ["bench", "good.eqtvm", "--seconds", "0.01", "--threads", random.choice(numbers)],
            ["bench", "good.eqtvm", "--seconds", random.choice(["-1", "nan", "x", "", "0"])],
            [*RUN, "good.npy", "--top", random.choice(numbers)],
            [*EVALUATE, "good.npz", "--limit", random.choice(numbers)],
            [*EVALUATE, "good.npz", "--reference", random.choice(["good.npz", "good.eqtvm", "none.onnx", "/dev/zero"])],
            ["run", "good.eqtvm"],
            [*RUN, random.choice(["", ".", "none", "net.onnx", "/dev/zero", "good.yaml", "good.eqtvm"])],
            ["run", random.choice(["net.onnx", "none", ".", "", "good.npz"]), "--input", "good.npy"],
            ["export", random.choice(["net.onnx", "none", "."]), "out.onnx"],
            ["export", "good.eqtvm", random.choice([".", "none/x.onnx", "", "/dev/null", "x" * 300, "out.txt"])],
            [
                "analyze",
                random.choice(["net.onnx", "none", ".", "good.npz"]),
                "--output",
                random.choice(["", ".", "/"]),
            ],
            [
                *RUN,
                "good.npy",
                "--rpc",
                random.choice(["nobody.invalid:1", "localhost:1", ":", "x:y", "localhost:99999", ""]),
            ],
        ]
    )


def other_formats(random: Random, folder: Path) -> list[str]:
    """TFLite and Relay files that are damaged."""
    suffix = random.choice([".tflite", ".tflite", ".relay", ".json", ".txt", ".pt2", ".pt", ".h5", ".ONNX", ""])
    content = bytearray((folder / "good.tflite").read_bytes())
    if suffix in (".relay", ".txt"):
        content = bytearray(_RELAY.encode())
    elif suffix == ".json":
        content = bytearray(
            b'{"root": 1, "nodes": [{"type_key": ""}, {"type_key": "IRModule", "attrs": {}}], "b64ndarrays": []}'
        )
    for _ in range(random.choice([1, 2, 10])):
        what = random.randrange(3)
        place = random.randrange(len(content) or 1)
        if what == 0 and content:
            content[place] ^= 1 << random.randrange(8)
        elif what == 1:
            del content[place : place + random.randrange(1, 20)]
        elif random.random() < 0.3:
            del content[max(place, 1) :]
    (folder / f"n{suffix}").write_bytes(content)
    return ["compile", f"n{suffix}", "--calibration", "random", "--output", "out"]


_RELAY = """#[version = "0.0.5"]
def @main(%x: Tensor[(1, 3, 8, 8), float32]) -> Tensor[(1, 3, 8, 8), float32] {
  %0 = nn.relu(%x);
  %1 = add(%0, 1f);
  nn.max_pool2d(%1, pool_size=[3, 3], padding=[1, 1, 1, 1])
}
"""

KINDS: tuple[Make, ...] = (
    preprocessing,
    targets,
    arrays,
    single_arrays,
    images,
    lists,
    tuning,
    bundles,
    options,
    options_of_others,
    other_formats,
)
