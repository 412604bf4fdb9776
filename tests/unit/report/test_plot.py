"""The picture of a measurement."""

import xml.etree.ElementTree as ET

from harness.report import plot
from tests.unit.report.measurements import measurement, run, series

SVG = "{http://www.w3.org/2000/svg}"
VALUES = [10.0 + n / 10 for n in range(20)]


def drawn(*found):
    return ET.fromstring(plot.render(measurement(*found)))


def test_each_run_that_counts_is_a_dot_within_the_picture():
    dots = list(drawn(series("a=1", VALUES, run(999.0, "so"))).iter(f"{SVG}circle"))
    assert len(dots) == 20
    assert all(200 <= float(dot.get("cx")) <= plot.WIDTH for dot in dots)


def test_more_is_further_right_on_one_scale_for_all_series():
    dots = list(drawn(series("a=1", VALUES), series("b=1", [99.0])).iter(f"{SVG}circle"))
    places = [float(dot.get("cx")) for dot in dots]
    assert places[:20] == sorted(places[:20])
    assert places[20] > places[19]


def test_names_are_text_whatever_they_are():
    told = "".join(drawn(series("qemu=/a<b>&c", VALUES, run(1.0, "so"))).itertext())
    assert "qemu=/a<b>&c" in told
    assert "median 10.95, n 20, 1 left out" in told


def test_series_without_a_run_and_all_values_alike_can_be_drawn():
    assert "no run counts" in "".join(drawn(series("a=1", VALUES), series("b=1", [])).itertext())
    assert len(list(drawn(series("a=1", [0.0] * 20)).iter(f"{SVG}circle"))) == 20
    assert "nothing was measured" in "".join(drawn(series("a=1", [])).itertext())


def test_ticks_are_few_and_round():
    ticks = [t for t in drawn(series("a=1", VALUES)).iter(f"{SVG}text") if t.get("text-anchor")]
    assert 3 <= len(ticks) <= 9
    assert all(len(tick.text) <= 6 for tick in ticks)


def test_it_needs_nothing_from_elsewhere():
    text = plot.render(measurement(series("a=1", VALUES)))
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
