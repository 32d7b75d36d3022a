"""The report: one small file of all there is, escaped, drawn and moved by a real browser."""

import json
import logging
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from browser import CHROMIUM, Tab, browser
from prepared import plan

from kneeformer.data.images import write_image
from kneeformer.data.segmentation_file import write_label_map
from kneeformer.errors import KneeformerError
from kneeformer.geometry.grid import Grid
from kneeformer.labels import LabelScheme
from kneeformer.metrics.metric import Metric
from kneeformer.metrics.score_table import Score, ScoreTable
from kneeformer.metrics.summary import summarise, write_summary
from kneeformer.reporting.report_page import Page, Section, Table, has_viewer, write_page
from kneeformer.reporting.score_sections import case_table, structure_table
from kneeformer.workflows.fold_folder import write_run
from kneeformer.workflows.report import write_report
from kneeformer.workflows.report_cases import predicted_files
from kneeformer.workflows.request import Request
from kneeformer.workflows.warning_log import keeping_warnings

SHAPE = (6, 24, 20)
GRID = Grid.along_patient(SHAPE, (3.0, 1.0, 1.2), "RIP")
HOSTILE = "<img src=x onerror=alert(1)>"
FACTS = {"volume_mm3": 1234.5, "length_interval_mm": [103.98, 104.5], "warnings": [f"odd {HOSTILE}"]}
SCHEME = LabelScheme.from_json({"background": 0, "femur": 1, f"{HOSTILE}</script>": 2})
DICE = Metric(name="Dice", meaning="overlap", better="higher")


def scores() -> ScoreTable:
    values = {"K01": (0.9, 0.8), "K02": (0.5, 0.6), "K03": (0.7, float("nan"))}
    rows = [Score(c, s, "whole", DICE, v) for c, of in values.items() for s, v in zip("ab", of, strict=True)]
    return ScoreTable(tuple(rows), {case: case for case in values})


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a segmentation, a completion and a reconstruction in one folder."""
    folder = tmp_path_factory.mktemp("predictions")
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:5, 4:12, 4:14], labels[2:4, 13:20, 5:12] = 1, 2
    scan = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    write_label_map(folder / "K01.nrrd", labels, GRID, SCHEME)
    write_image(folder / "images" / "K01_0000.nrrd", scan, GRID)
    bone = (labels > 0).astype(np.uint8)
    region = (labels == 2).astype(np.uint8)
    for suffix, volume in (("", bone), ("_region", region), ("_uncertainty", region * np.float32(0.7))):
        write_image(folder / f"T01{suffix}.nrrd", volume, GRID)
    (folder / "T01.json").write_text(json.dumps(FACTS), encoding="utf-8")
    write_image(folder / "X01.nrrd", scan + 0.25, GRID)
    write_image(folder / "images" / "X01_0000.nrrd", scan, GRID)
    write_report(folder, folder / "images", None, folder / "report.html", lambda *_: None)
    return folder / "report.html"


def test_tables_have_intervals_and_the_worst_case_first() -> None:
    summary = summarise(scores())
    means = structure_table(summary)
    assert means.header[:4] == ("Structure", "Cases", "Dice", "95 % CI")
    assert means.rows[0][:3] == ("a", "3", "0.700") and means.foot[:3] == ("mean", "3", "0.700")
    cases = case_table(summary)
    assert [row[:2] for row in cases.rows] == [("K02", "0.550"), ("K03", "0.700"), ("K01", "0.850")]
    assert cases.rows[1][3] == "-"


def test_a_report_is_one_small_file_that_asks_for_nothing(report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r"""<[^>]*(?:src|href)="(?!data:|#)[^"]*""", own)
    assert len(page) < 6_000_000


def test_measurements_are_in_words_with_their_intervals(report: Path) -> None:
    rows = dict(re.findall(r">([^<]*)</th><td>(.*?)</td>", report.read_text(encoding="utf-8")))
    assert rows["Volume mm³"] == "1,234" and rows["Length interval mm"] == "104.0 to 104.5"


def test_files_beside_a_prediction_are_found_where_a_disk_has_decomposed_names(tmp_path: Path) -> None:
    name = unicodedata.normalize("NFD", "Müller")
    write_image(tmp_path / f"{name}.nrrd", np.zeros(SHAPE, np.uint8), GRID)
    write_image(tmp_path / f"{name}_region.nrrd", np.zeros(SHAPE, np.uint8), GRID)
    (tmp_path / f"{name}.json").write_text("{}", encoding="utf-8")
    (case,) = predicted_files(tmp_path, None)
    assert case.name == "Müller"
    assert [case.beside(suffix) for suffix in (".json", "_region", ".png")] == [
        tmp_path / f"{name}.json",
        tmp_path / f"{name}_region.nrrd",
        None,
    ]


def test_an_empty_label_map_and_one_of_floats_are_cases_like_others(tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, np.float32)
    write_image(tmp_path / "K01.nii.gz", labels, GRID)
    labels[2:4, 4:9, 4:9] = 7
    write_image(tmp_path / "K02.nii.gz", labels, GRID)
    write_report(tmp_path, None, None, tmp_path / "report.html", lambda *_: None)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert re.findall(r"<h2 id=[^>]*>(.*?)</h2>", page) == ["K01", "K02"]
    assert re.findall(r">(label_[^<]*)</th>", page) == ["label_7"]


def test_kspace_of_another_matrix_is_refused_in_a_sentence(tmp_path: Path) -> None:
    write_image(
        tmp_path / "found" / "a.nii.gz", np.full((2, 16, 16), 0.5, np.float32), Grid((2, 16, 16), (1, 1, 1))
    )
    (tmp_path / "images").mkdir()
    with h5py.File(tmp_path / "images" / "a.h5", "w") as file:
        file["kspace"] = np.ones((2, 1, 12, 12), np.complex64)
    with pytest.raises(KneeformerError, match=r"a\.h5: another grid than the prediction"):
        write_report(tmp_path / "found", tmp_path / "images", None, tmp_path / "r.html", lambda *_: None)


def test_a_name_that_ends_like_a_second_volume_is_a_case(tmp_path: Path) -> None:
    for name in ("P1", "P1_ct", "T1", "T1_ct", "T1_region", "X1", "X1_real", "X1_imag", "Y1_real"):
        write_image(tmp_path / f"{name}.nrrd", np.zeros(SHAPE, np.uint8), GRID)
    assert [case.name for case in predicted_files(tmp_path, None)] == ["P1", "P1_ct", "T1", "X1", "Y1_real"]


def test_text_is_escaped_wherever_it_stands(tmp_path: Path) -> None:
    section = Section(HOSTILE, HOSTILE, [Table(HOSTILE, [HOSTILE], [[HOSTILE]])], warnings=[HOSTILE])
    write_page(Page(HOSTILE, HOSTILE, {HOSTILE: HOSTILE}, [section], [HOSTILE]), tmp_path / "page.html")
    assert "<img" not in (tmp_path / "page.html").read_text(encoding="utf-8").replace("<img loading", "")


def test_scores_lead_and_order_the_cases(tmp_path: Path) -> None:
    for case in ("K01", "K02", "K03"):
        write_label_map(tmp_path / f"{case}.nrrd", np.zeros(SHAPE, np.uint8), GRID, SCHEME)
    write_summary(summarise(scores()), tmp_path)
    write_report(tmp_path, None, None, tmp_path / "report.html", lambda *_: None)
    titles = re.findall(r"<h2 id=[^>]*>(.*?)</h2>", (tmp_path / "report.html").read_text(encoding="utf-8"))
    assert titles == ["Scores", "K02", "K03", "K01"]


def test_a_training_has_scores_cases_curves_and_its_plan_in_words(tmp_path: Path) -> None:
    fold = tmp_path / "fold_0"
    write_run(
        fold, plan().with_only("3d_vit"), Request("Dataset001_Knee", "3d_vit", 0), torch.device("cpu"), None
    )
    step = {"step": 4, "loss": 0.5, "learning_rate": 1e-3}
    epoch = {"step": 4, "validation_loss": 0.4, "scores": {"femur": 0.8}, "seconds": 240.0}
    (fold / "training_log.jsonl").write_text(f"{json.dumps(step)}\n{json.dumps(epoch)}\n")
    (fold / "training.log").write_text("2026-01-01 10:00:00 <b>begins</b>\n")
    with keeping_warnings(fold):
        for text in ("K02: a <b>doubt</b>\n  of two lines", "another", "another"):
            logging.getLogger("kneeformer.tasks").warning(text)
    logging.getLogger("kneeformer.tasks").warning("after the training")
    for case in ("K01", "K02", "K03"):
        write_label_map(fold / "validation" / f"{case}.nrrd", np.zeros(SHAPE, np.uint8), GRID, SCHEME)
    write_summary(summarise(scores()), fold / "validation")
    write_report(fold, None, SCHEME, tmp_path / "report.html", lambda *_: None)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    titles = re.findall(r"<h2 id=[^>]*>(.*?)</h2>", page)
    assert titles == ["Scores", "K02", "K03", "K01", "Training", "Plan"]
    assert "60.00 s, validation crops included" in page and "4 min" in page
    listed = re.findall(r"<li>(.*?)</li>", page, re.DOTALL)
    assert listed == ["K02: a &lt;b&gt;doubt&lt;/b&gt;\n  of two lines", "another"]
    assert "&lt;b&gt;begins&lt;/b&gt;" in page and "<svg" in page and ">femur</text>" in page


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KneeformerError, match="holds neither"):
        write_report(tmp_path, None, None, tmp_path / "report.html", lambda *_: None)
    with pytest.raises(KneeformerError, match="no such folder"):
        write_report(tmp_path / "none", None, None, tmp_path / "report.html", lambda *_: None)


# ---- in a browser


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_a_report_in_a_browser(report: Path, tab: Tab, dark: bool) -> None:
    tab.open(report, dark, height=6000)
    tab.wait("[...document.querySelectorAll('[data-viewer], [data-scene]')].every(e => e.dataset.ready)")
    assert tab.value("document.querySelectorAll('[data-viewer]').length") == 3
    assert tab.value("document.querySelectorAll('[data-scene]').length") == (2 if has_viewer() else 0)
    assert tab.value(CONTRAST) > 4.5  # WCAG AA
    text = tab.value("document.body.innerText")
    assert f"odd {HOSTILE}" in text and "1,234" in text

    canvas = "document.querySelector('.plane canvas')"
    before = tab.value(f"{canvas}.toDataURL()")
    tab.value(f"{canvas}.focus()")
    tab.press("ArrowRight")
    assert tab.value(f"{canvas}.getAttribute('aria-label')") == "sagittal slice 4 of 6"
    assert tab.value(f"{canvas}.toDataURL()") != before
    tab.press("Tab")  # to the slider of the same plane, which browsers move by keys
    tab.press("ArrowRight")
    assert tab.value("document.activeElement.value") == "4"
    assert tab.value("document.querySelector('.plane output').textContent") == "5 of 6"
    tab.press("End")
    assert tab.value(f"{canvas}.getAttribute('aria-label')") == "sagittal slice 6 of 6"
    if has_viewer():
        tab.wait(f"({DRAWN}) > 100")
        eye = "document.querySelector('[data-scene]').layout.scene.camera.eye.x"
        x = tab.value(eye)
        tab.value("document.querySelector('[data-scene]').focus()")
        tab.press("ArrowRight")
        tab.wait(f"{eye} !== {x}")
    assert tab.said == []


CONTRAST = """(() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[0-9.]+/g).map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = light(getComputedStyle(document.body).backgroundColor);
  return Math.min(...["p", "th", "td", "h2", "dt", "figcaption", "nav a"].map((name) => {
    const ink = light(getComputedStyle(document.querySelector(name)).color);
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
  }));
})()"""

DRAWN = """(() => {
  const gl = document.querySelector("[data-scene] canvas");
  const copy = document.createElement("canvas");
  [copy.width, copy.height] = [gl.width, gl.height];
  const context = copy.getContext("2d");
  document.querySelector("[data-scene]")._fullLayout.scene._scene.glplot.redraw();
  context.drawImage(gl, 0, 0);
  const pixels = context.getImageData(0, 0, gl.width, gl.height).data;
  let coloured = 0;
  for (let i = 0; i < pixels.length; i += 4) {
    coloured += pixels[i + 3] > 0 && Math.max(pixels[i], pixels[i + 1], pixels[i + 2])
      - Math.min(pixels[i], pixels[i + 1], pixels[i + 2]) > 30;
  }
  return coloured;
})()"""
