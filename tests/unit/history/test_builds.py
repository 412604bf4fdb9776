"""BuildFacts: plain data that travels in the manifest."""

import msgspec

from harness.history.builds import BuildFacts

FACTS = BuildFacts(path="/usr/bin/qemu", version=(10, 0, 2), version_text="10.0.2 (Debian)")


def test_only_path_and_version_have_to_be_known():
    assert FACTS.machine == ""
    assert FACTS.vfio_pci_properties == ()
    assert FACTS.capabilities == ()
    assert FACTS.trace_events


def test_facts_round_trip_through_json():
    full = msgspec.structs.replace(
        FACTS,
        machine="pc-q35-10.0",
        vfio_pci_properties=("x-migration-multifd-transfer",),
        capabilities=("multifd", "mapped-ram"),
        trace_events=False,
    )
    assert msgspec.json.decode(msgspec.json.encode(full), type=BuildFacts) == full
