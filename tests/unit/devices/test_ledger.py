"""The ledger: what is written down stays until released, and tells the living from the dead."""

import subprocess
import sys

import pytest

from harness.devices.ledger import Ledger
from harness.errors import HarnessError, PrerequisiteMissing

CLAIM = "import sys; from harness.devices.ledger import Ledger; "
CLAIM += "from pathlib import Path; Ledger('mdev', Path(sys.argv[1])).claim('theirs')"


@pytest.fixture
def ledger(tmp_path):
    return Ledger("mdev", tmp_path)


def test_claim_of_a_living_process_is_not_abandoned(ledger):
    ledger.claim("ours")
    assert ledger.abandoned() == []


def test_claim_of_a_process_that_ended_is(ledger, tmp_path):
    subprocess.run([sys.executable, "-c", CLAIM, tmp_path], check=True)
    ledger.claim("ours")
    assert ledger.abandoned() == ["theirs"]


def test_process_with_the_same_number_is_another_one(ledger, tmp_path):
    ledger.claim("ours")
    path = tmp_path / "mdev" / "ours.json"
    path.write_text(path.read_text().replace('"start_ticks":', '"start_ticks":1'))
    assert ledger.abandoned() == ["ours"]


def test_what_is_released_is_known_no_more(ledger, tmp_path):
    subprocess.run([sys.executable, "-c", CLAIM, tmp_path], check=True)
    ledger.release("theirs")
    ledger.release("theirs")
    assert ledger.abandoned() == []


def test_kinds_do_not_meet(ledger, tmp_path):
    subprocess.run([sys.executable, "-c", CLAIM, tmp_path], check=True)
    assert Ledger("pci", tmp_path).abandoned() == []


def test_damaged_record_is_named(ledger, tmp_path):
    ledger.claim("ours")
    (tmp_path / "mdev" / "ours.json").write_text("{")
    with pytest.raises(HarnessError, match=r"ours\.json: cannot be read"):
        ledger.abandoned()


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "mdev").touch()
    with pytest.raises(PrerequisiteMissing, match="mdev"):
        Ledger("mdev", tmp_path).claim("ours")
