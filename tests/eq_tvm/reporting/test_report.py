"""The page, in a browser where there is one."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from onnx_models import random, write_model

import eq_tvm
from eq_tvm.cli import main
from eq_tvm.errors import UserError
from eq_tvm.reporting.report import describe, write_report


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A small network as INT7 and INT8."""
    folder = tmp_path_factory.mktemp("reported")
    weights = {"w": random(8, 3, 3, 3), "v": random(5, 8, 1, 1)}
    nodes = [("Conv", "x w", "a", {}), ("Relu", "a", "r", {}), ("Conv", "r v", "y", {})]
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
    told = describe(compiled[0], bench={"median_ms": 1.5, "threads": 2}, evaluated={"top1": 0.5, "cosine": None})
    assert told["name"] == "int7.eqtvm" and dict(told["summary"])["time"] == "1.500 ms (2 threads)"
    assert dict(told["summary"])["top-1"] == "50.00%" and "cosine of outputs" not in dict(told["summary"])
    assert [layer["name"] for layer in told["layers"]] == ["n0", "n2"]
    for layer, count in zip(told["layers"], (8 * 27, 40), strict=True):
        assert sum(layer["weights"]["counts"]) == count and layer["weights"]["low"] >= -63 and layer["kernel"]
    assert [box["op"] for box in told["boxes"]][:2] == ["input", "Conv"]


def test_pages_are_whole_and_the_same_each_time(compiled, tmp_path):
    write_report(compiled, tmp_path / "a.html")
    write_report(compiled, tmp_path / "b.html")
    page = (tmp_path / "a.html").read_text()
    assert page == (tmp_path / "b.html").read_text() and page.rstrip().endswith("</html>")
    assert [bundle["name"] for bundle in data_of(page)["bundles"]] == ["int7.eqtvm", "int8.eqtvm"]
    assert not re.search(r'(?:src|href)="|url\(|import ', page)  # it needs no connection
    with pytest.raises(UserError, match="one bundle, or two"):
        write_report(compiled * 2, tmp_path / "c.html")


def test_command(compiled, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(compiled[0])]) == 0
    assert capsys.readouterr().out == "written: int7.html\n" and (tmp_path / "int7.html").is_file()
    assert main(["report", "none.eqtvm"]) == 2
    assert main(["report", str(compiled[0]), "--reference", "net.onnx"]) == 2
    assert "--reference goes with --data" in capsys.readouterr().err


@pytest.mark.parametrize("width", [400, 1280])
def test_in_a_browser(compiled, tmp_path, width):
    """What the script makes, without a word of the console."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no Chromium here: apt-get install chromium")
    write_report(compiled, tmp_path / "a.html")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={width},900", "--dump-dom"]
    options += ["--enable-logging=stderr", "--v=0", f"--user-data-dir={tmp_path}/browser"]
    command = [browser, *options, f"file://{tmp_path}/a.html"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert "CONSOLE" not in done.stderr
    page = done.stdout
    assert page.count('<svg class="picture"') == 2 and page.count('data-name="') == 2
    assert "cosine A" in page and "cosine B" in page and "int8.eqtvm" in page
