"""Measurements of made-up runs."""

from collections.abc import Sequence

from harness.measure.measured import Measured
from harness.measure.measurement import Measurement, Sample, Series
from harness.scenario import Scenario


def run(downtime_ms: float | None, left_out: str = "", outcome: str = "valid") -> Sample:
    measured = Measured(
        downtime_ms=downtime_ms, parts_ms={"until it is loaded": downtime_ms or 0.0},
        channels={"0": 3, "1": 1}, memory_kib={"destination": 2048},
    )  # fmt: skip
    return Sample(path="runs/x-0001", outcome=outcome, left_out=left_out, measured=measured)


def series(name: str, values: Sequence[float], *others: Sample) -> Series:
    return Series(
        name=name,
        scenario=Scenario(name="plain"),
        build="QEMU 10.0.0, /q",
        runs=(*map(run, values), *others),
    )


def measurement(*found: Series, **fields) -> Measurement:
    defaults = {"machine": "2 processors", "load": (1.0, 2.0), "path": "runs/measure-0001"}
    return Measurement(series=found, rounds=len(found[0].runs), **{**defaults, **fields})
