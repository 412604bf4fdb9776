"""``doctor``: what it is asked."""

from pathlib import Path

from harness.doctor import examination


def test_doctor_is_given_all_qemus(call, monkeypatch):
    seen = []

    def remember(qemus, runs_dir, *, is_json):
        seen.append((qemus, runs_dir, is_json))
        return 0

    monkeypatch.setattr(examination, "report", remember)
    assert call("doctor", "--qemu", "a", "--qemu", "b", "--json")[0] == 0
    assert seen == [(["a", "b"], Path("runs"), True)]
