#!/usr/bin/env python3
"""Copy the files of a run that judging needs to tests/data, without the paths of this machine.

Usage: ci/save_run.py RUN tests/data/good/NAME | tests/data/violated/REQUIREMENT/NAME
       ci/save_run.py --gzip RUN tests/data/known/DEVIATION

With --gzip, the history is compressed, to a tenth: gunzip it before `vfio-multifd recheck`.
"""

import argparse
import gzip
import re
from pathlib import Path

import msgspec

from harness.history.rundir import FORMAT, HISTORY, MANIFEST, SCENARIO, Manifest, digest_of, load
from harness.vm import guest_image


def main(run: Path, target: Path, *, is_compressed: bool = False) -> None:
    """Copy ``run`` to ``target``, and check that it can be loaded."""
    manifest = load(run).manifest
    target.mkdir(parents=True)
    for name in (MANIFEST, SCENARIO, HISTORY):
        text = (run / name).read_text()
        for build in (manifest.source.path, manifest.destination.path):
            text = text.replace(build, "/usr/bin/qemu-system-x86_64")
            folder = re.escape(str(Path(build).parent))
            text = re.sub(folder, "/usr", text) if build.startswith("/") else text
        text = text.replace(str(run.absolute()), f"/runs/{target.name}")
        text = text.replace(str(run.absolute().parent), "/runs")
        text = text.replace(str(guest_image.CACHE), "/usr/share/guest")
        text = re.sub(r"(signal \d+ from pid \d+ \()[^)]*\)", r"\1/usr/bin/python3)", text)
        (target / name).write_text(text)
    seal(target)
    load(target)
    if is_compressed:
        history = target / HISTORY
        packed = gzip.compress(history.read_bytes(), mtime=0)
        history.with_name(f"{HISTORY}.gz").write_bytes(packed)
        history.unlink()


def seal(target: Path) -> None:
    """Write the digests of the files of ``target`` to its manifest."""
    manifest = msgspec.json.decode((target / MANIFEST).read_bytes(), type=Manifest)
    sealed = msgspec.structs.replace(
        manifest,
        format=FORMAT,
        scenario_digest=digest_of(target / SCENARIO),
        history_digest=digest_of(target / HISTORY),
    )
    (target / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(sealed)) + b"\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--gzip", action="store_true", help="compress the history")
    options = parser.parse_args()
    main(options.run, options.target, is_compressed=options.gzip)
