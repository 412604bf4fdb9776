"""A saved run is copied without this machine's paths, and its digests are those of the copy."""

import gzip

import msgspec
import pytest

from ci import save_run
from harness.errors import HistoryError
from harness.history.rundir import HISTORY, MANIFEST, SCENARIO, load
from tests.unit.saved_runs import save, valid_run


def test_copy_names_no_path_of_this_machine_and_can_be_judged(tmp_path):
    run = valid_run()
    here = msgspec.structs.replace(run.manifest.source, path="/home/me/build/qemu-system-x86_64")
    manifest = msgspec.structs.replace(run.manifest, source=here, destination=here)
    scenario = msgspec.structs.replace(run.scenario, qemu=here.path)
    made = save(type(run)(scenario, manifest, run.records), tmp_path)
    target = tmp_path / "saved" / "valid"
    save_run.main(made, target)
    assert {path.name for path in target.iterdir()} == {MANIFEST, SCENARIO, HISTORY}
    assert not any("/home/me" in path.read_text() for path in target.iterdir())
    assert load(target).scenario.qemu == "/usr/bin/qemu-system-x86_64"


def test_copy_that_is_edited_is_refused(tmp_path):
    target = tmp_path / "saved"
    save_run.main(save(valid_run(), tmp_path), target)
    scenario = target / SCENARIO
    scenario.write_text(scenario.read_text().replace('"channels": 4', '"channels": 5'))
    with pytest.raises(HistoryError, match="its digest is not that in the manifest"):
        load(target)


def test_history_is_compressed_where_that_is_asked_for(tmp_path):
    target = tmp_path / "saved"
    save_run.main(save(valid_run(), tmp_path), target, is_compressed=True)
    assert {path.name for path in target.iterdir()} == {MANIFEST, SCENARIO, f"{HISTORY}.gz"}
    packed = target / f"{HISTORY}.gz"
    (target / HISTORY).write_bytes(gzip.decompress(packed.read_bytes()))
    assert load(target).records == valid_run().records
