"""``export``: a run as a trace."""

import json

from tests.unit.called import one_line
from tests.unit.saved_runs import save, valid_run


def test_export_writes_a_trace(call, tmp_path):
    status, out, err = call("export", save(valid_run(), tmp_path), "-o", tmp_path / "trace.json")
    assert (status, out, err) == (0, "", "")
    assert json.loads((tmp_path / "trace.json").read_bytes())["traceEvents"]


def test_export_to_where_it_cannot_write_is_one_line(call, tmp_path):
    status, _, err = call("export", save(valid_run(), tmp_path), "-o", tmp_path / "no" / "x.json")
    assert status == 4
    assert "no/x.json: cannot write: No such file" in one_line(err)
