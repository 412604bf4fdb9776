"""The ledger: an entry stays until it is released, and shows whose owner has ended."""

import subprocess
import sys
import threading

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


def test_note_is_kept_until_the_release(ledger):
    ledger.claim("ours", {"driver": "nic"})
    assert ledger.note("ours") == {"driver": "nic"}
    ledger.release("ours")
    assert ledger.note("ours") == {}


def test_what_another_has_is_not_claimed_again(ledger, tmp_path):
    subprocess.run([sys.executable, "-c", CLAIM, tmp_path], check=True)
    with pytest.raises(
        PrerequisiteMissing, match=r"^theirs is in use by another run: .*theirs\.json"
    ):
        ledger.claim("theirs")
    assert ledger.abandoned() == ["theirs"]
    assert [path.name for path in (tmp_path / "mdev").iterdir()] == ["theirs.json"]


ALONE = "import sys; from harness.devices.ledger import Ledger; from pathlib import Path\n"
ALONE += "with Ledger('mdev', Path(sys.argv[1])).alone(): print('in', flush=True); sys.stdin.read()"


def test_one_process_at_a_time_undoes_anything(ledger, tmp_path):
    assert not ledger.is_writable
    ledger.claim("ours")
    assert ledger.is_writable
    with subprocess.Popen(
        [sys.executable, "-c", ALONE, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"in\n"
        entered = threading.Event()

        def enter():
            with ledger.alone():
                entered.set()

        thread = threading.Thread(target=enter)
        thread.start()
        assert not entered.wait(0.2)
        other.stdin.close()
        thread.join(30)
        assert entered.is_set()
