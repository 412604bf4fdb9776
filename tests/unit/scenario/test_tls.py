"""TLS of a scenario, and what does not go together with it."""

import json

import pytest

from harness.errors import UsageError
from harness.scenario import PENDING_TRACE, Scenario, Tls, TlsMismatch, from_json, to_json
from harness.scenario.fault_plan import Drop, HoldConnections, Select, StallMain, Until


def test_tls_comes_back_from_json():
    scenario = Scenario(name="tls", tls=Tls.X509, tls_mismatch=TlsMismatch.CLIENT)
    assert from_json(to_json(scenario)) == scenario
    assert scenario.has_tls
    assert not Scenario(name="plain").has_tls


def test_tls_is_traced_where_anything_is():
    trace = (*Scenario(name="x").trace, *PENDING_TRACE)
    assert Scenario(name="x").trace_patterns == trace
    assert all("*" in pattern for pattern in PENDING_TRACE), "a build may lack an event"
    assert Scenario(name="x", tls=Tls.PSK, trace=()).trace_patterns == ()
    patterns = Scenario(name="x", tls=Tls.PSK).trace_patterns
    assert patterns[: len(trace)] == trace
    assert "qio_channel_tls_*" in patterns


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tls_mismatch": "key"}, "tls_mismatch=key is not of tls=none, which knows none"),
        ({"tls": "psk", "tls_mismatch": "ca"}, "is not of tls=psk, which knows key, source_plain"),
        ({"tls": "x509", "tls_mismatch": "key"}, "is not of tls=x509, which knows ca, client"),
        ({"tls": "psk", "transport": "file"}, "TLS needs a socket; transport is file"),
        ({"tls": "ssl"}, "tls is 'ssl': unknown; one of none, psk, x509"),
    ],
)
def test_tls_that_makes_no_sense_is_one_line(fields, words):
    with pytest.raises(UsageError) as told:
        from_json(json.dumps({"name": "x", **fields}).encode())
    assert words in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "fault",
    [
        Drop(select=Select(idx=(1,))),
        StallMain(until=Until(delay_s=1)),
        HoldConnections(until=Until(told="switchover")),
    ],
)
def test_fault_that_looks_into_tls_is_refused(fault):
    with pytest.raises(ValueError, match="a relay cannot look into TLS") as told:
        Scenario(name="x", tls=Tls.PSK, faults=(fault,))
    assert str(told.value).startswith(fault.describe())


def test_connections_can_be_held_under_tls():
    held = HoldConnections(until=Until(delay_s=1), accepted=2)
    assert Scenario(name="x", tls=Tls.PSK, faults=(held,)).has_relay
