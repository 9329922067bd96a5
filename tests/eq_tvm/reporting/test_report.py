"""The page, in a browser where there is one."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import onnx
import pytest
from onnx_models import random, write_model

import eq_tvm
from eq_tvm.artifacts import bundle
from eq_tvm.cli import main
from eq_tvm.errors import UserError
from eq_tvm.reporting import report
from eq_tvm.reporting.report import describe, write_report
from eq_tvm.reporting.summary import float_bytes


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A small network as INT7 and INT8."""
    folder = tmp_path_factory.mktemp("reported")
    weights = {"w": random(8, 3, 3, 3), "b": random(8), "v": random(5, 8, 1, 1), "c": random(5)}
    nodes = [("Conv", "x w b", "a", {}), ("Relu", "a", "r", {}), ("Conv", "r v c", "y", {})]
    path = write_model(folder / "a<b.onnx", nodes, {"x": (1, 3, 8, 8)}, ["y"], weights)
    np.savez(folder / "x.npz", images=random(10, 3, 8, 8, seed=3))
    options = {"calibration": folder / "x.npz", "method": "mse+", "verify": False}
    return [
        eq_tvm.compile(path, scheme=scheme, output=folder / f"{scheme}.eqtvm", **options).path
        for scheme in ("int7", "int8")
    ]


def data_of(page):
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)[1])


def test_what_is_told(compiled):
    told = describe(
        compiled[0],
        {
            "bench": {"median_ms": 1.5, "threads": 2},
            "evaluated": {"top1": 0.5, "float_top1": 0.75, "cosine": None, "n": 4, "data": "x.csv"},
        },
    )
    assert told["name"] == "int7.eqtvm" and dict(told["summary"])["time"] == "1.500 ms on 2 threads"
    assert dict(told["summary"])["evaluated on"] == "4 images of x.csv"
    assert dict(told["summary"])["top-1"] == "50.00% (float32: 75.00%)" and "cosine of outputs" not in dict(
        told["summary"]
    )
    assert [layer["name"] for layer in told["layers"]] == ["n0", "n2"]
    for layer, count in zip(told["layers"], (8 * 27, 40), strict=True):
        assert sum(layer["weights"]["counts"]) == count and layer["weights"]["low"] >= -63 and layer["kernel"]
    assert [box["op"] for box in told["boxes"]][:2] == ["input", "Conv"]


def test_why_a_kernel_was_chosen(compiled):
    for layer in describe(compiled[0])["layers"]:
        taken = [each for each in layer["considered"] if each["kernel"] == layer["kernel"]]
        assert len(taken) == 1 and taken[0]["cycles"][0] == layer["cycles"]
        proven = [each for each in layer["considered"] if all(reached <= bound for _, reached, bound in each["proofs"])]
        assert layer["cycles"] == min(each["cycles"][0] for each in proven)
        assert all(each["cycles"] == sorted(each["cycles"]) and each["proofs"] for each in layer["considered"])
    first, second = describe(compiled[0])["layers"]
    assert (
        any(each["kernel"].startswith("F(4,3)") for each in first["considered"]) and "Winograd" not in first["left_out"]
    )
    assert "3x3" in second["left_out"]["Winograd"]


def test_what_steps_changed(compiled):
    for layer in describe(compiled[0])["layers"]:
        steps = layer["steps"]
        inputs, (nearest, rounded), (same, corrected) = steps["input"], steps["weights"], steps["bias"]
        assert inputs[0] == inputs[1] and same == rounded and max(inputs[0], nearest, rounded, corrected) < 0.2
        # errors of a sample: about what the cosine over all images says
        assert np.sqrt(1 - layer["cosine_after"] ** 2) == pytest.approx(corrected, rel=0.5)


def test_the_summary_compares_with_float32(compiled):
    told = describe(compiled[0], {"bench": {"median_ms": 2, "threads": 1}, "float32": {"engine": "E", "median_ms": 5}})
    rows = dict(told["summary"])
    assert rows["time"] == "2.000 ms on 1 thread" and rows["time of float32"] == "5.000 ms in E: 2.50 times as long"
    assert "lowest: n" in rows["cosine of layers"] and "the weights alone are 0.00 MB" in rows["size"]
    assert float_bytes(onnx.load_from_string(bundle.read_network(compiled[0]))) == 4 * (8 * 27 + 8 + 40 + 5)


def test_a_bundle_of_before(compiled, tmp_path):
    """It lacks what was added to the descriptions since."""
    old = tmp_path / "old.eqtvm"
    shutil.copytree(compiled[0], old)
    description = json.loads((old / "bundle.json").read_text())
    for kernel in description["kernels"]:
        del kernel["considered"], kernel["left_out"]
    for layer in description["calibration"]["layers"]:
        del layer["steps"], layer["similarity"]
    description["files"]["bundle.json"]["sha256"] = bundle._own_sha256(description)
    (old / "bundle.json").write_text(json.dumps(description))
    write_report([old, compiled[1]], tmp_path / "a.html")
    assert "considered" not in describe(old)["layers"][0]


def test_pages_are_whole_and_the_same_each_time(compiled, tmp_path):
    write_report(compiled, tmp_path / "a.html")
    write_report(compiled, tmp_path / "b.html")
    page = (tmp_path / "a.html").read_text()
    assert page == (tmp_path / "b.html").read_text() and page.rstrip().endswith("</html>")
    assert [bundle["name"] for bundle in data_of(page)["bundles"]] == ["int7.eqtvm", "int8.eqtvm"]
    assert not re.search(r'(?:src|href)="|url\(|import ', page)  # it needs no connection
    with pytest.raises(UserError, match="one bundle, or two"):
        write_report(compiled * 2, tmp_path / "c.html")


def test_compile_writes_it(compiled, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    network, images = compiled[0].parent / "a<b.onnx", compiled[0].parent / "x.npz"
    command = ["compile", str(network), "--calibration", str(images), "--method", "minmax", "--no-verify", "--report"]
    assert main([*command, "--output", "net.eqtvm"]) == 0
    assert re.search(r"^report +net\.html$", capsys.readouterr().out, re.MULTILINE)
    assert [each["name"] for each in data_of((tmp_path / "net.html").read_text())["bundles"]] == ["net.eqtvm"]
    (tmp_path / "taken.html").mkdir()
    assert main([*command, "--output", "taken.eqtvm"]) == 2 and not (tmp_path / "taken.eqtvm").exists()
    assert main([*command, "--artifact", "standalone"]) == 2
    assert "--report shows bundles" in capsys.readouterr().err


def test_command(compiled, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(compiled[0])]) == 0
    assert capsys.readouterr().out == "written: int7.html\n" and (tmp_path / "int7.html").is_file()
    assert main(["report", "none.eqtvm"]) == 2
    assert main(["report", str(compiled[0]), "--reference", "net.onnx"]) == 2
    assert "--reference goes with --data" in capsys.readouterr().err


def test_what_was_measured_stays(compiled, tmp_path, monkeypatch, capsys):
    """A report of the same library says what the one in its place did; one of another library does not."""
    monkeypatch.chdir(tmp_path)
    images = ["--data", str(compiled[0].parent / "x.npz"), "--reference", str(compiled[0].parent / "a<b.onnx")]
    assert main(["report", str(compiled[0]), "--bench", *images]) == 0
    first = (tmp_path / "int7.html").read_text()
    rows = dict(data_of(first)["bundles"][0]["summary"])
    assert rows["evaluated on"] == "10 images of x.npz" and {"time", "time of float32", "cosine of outputs"} <= set(
        rows
    )
    assert main(["report", str(compiled[0])]) == 0 and (tmp_path / "int7.html").read_text() == first
    assert main(["report", *map(str, compiled), "--output", "int7.html"]) == 0
    both = [dict(each["summary"]) for each in data_of((tmp_path / "int7.html").read_text())["bundles"]]
    assert both[0] == rows and "time" not in both[1]
    assert main(["report", str(compiled[1]), "--output", "int7.html", *images[:2]]) == 0
    rows = dict(data_of((tmp_path / "int7.html").read_text())["bundles"][0]["summary"])
    assert "evaluated on" in rows and "time" not in rows
    assert main(["report", str(compiled[0])]) == 0  # of which the page had said nothing for a while
    assert dict(data_of((tmp_path / "int7.html").read_text())["bundles"][0]["summary"]) == both[0]
    (tmp_path / "int7.html").write_text("<html>another page</html>")
    assert main(["report", str(compiled[0]), "--output", "int7.html"]) == 0


@pytest.mark.parametrize("width", [400, 1280])
def test_in_a_browser(compiled, tmp_path, width):
    """What the script makes, without a word of the console."""
    write_report(compiled, tmp_path / "a.html")
    page = shown(tmp_path / "a.html", width)
    assert page.count('<svg class="picture"') == 2 and page.count('data-name="') == 2
    assert page.count("What each step of the method changed") == page.count("Why this kernel") == 2
    assert "chosen: fewest cycles" in page and "bias corrected" in page and 'class="strip"' in page
    assert "cosine A" in page and "cosine B" in page and "int8.eqtvm" in page


@pytest.mark.parametrize(
    "name", ["</script><img src=x onerror=alert(1)>", '"><img src=x onerror=alert(1)>${x}&lt;img>']
)
def test_names_are_text(compiled, tmp_path, monkeypatch, name):
    """Whatever layers are called."""
    told = describe(compiled[0])
    told["layers"][0]["name"] = told["layers"][0]["kept"] = told["boxes"][1]["name"] = told["name"] = name
    told["summary"].append((name, name))
    told["layers"][0]["left_out"] = {name: name}
    monkeypatch.setattr(report, "describe", lambda path, known: told)
    write_report(compiled[:1], tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text()
    assert data_of(text)["bundles"][0]["name"] == name and text.count("</script>") == 2
    tags = Tags(shown(tmp_path / "a.html", 800))
    assert "img" not in tags.seen and {"svg", "table", "td"} <= tags.seen


class Tags(HTMLParser):
    """The names of a page's elements."""

    def __init__(self, page):
        super().__init__()
        self.seen = set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)


def shown(path, width):
    """The elements of the page that a browser makes of it, if there is one."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no Chromium here: apt-get install chromium")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={width},900", "--dump-dom"]
    options += ["--enable-logging=stderr", "--v=0", f"--user-data-dir={path.parent}/browser"]
    command = [browser, *options, f"file://{path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert "CONSOLE" not in done.stderr
    return re.sub(r"<script.*?</script>", "", done.stdout, flags=re.DOTALL)
