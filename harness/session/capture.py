"""Making a **capture**: besides the bytes it has whose they are, and the source's records."""

from collections.abc import Iterable

import msgspec

import harness
from harness.history import Record, Side
from harness.history.builds import BuildFacts
from harness.history.device import Sent
from harness.proxy.capture import CapturedDevice, CaptureWriter, Manifest
from harness.scenario import Scenario, Transport, to_json
from harness.session.link import idstrs_of


def why_not(scenario: Scenario) -> str:
    """Why what the source of ``scenario`` sends cannot be captured; "" if it can."""
    if scenario.transport is Transport.FILE:
        return "transport is file: a capture is made of connections"
    if not all(device.is_observable for device in scenario.devices):
        return "only the kernel's device knows what it was given: a replay could not be judged"
    if scenario.has_tls:
        return "a relay cannot look into TLS, and no other QEMU could be given what is in it"
    if scenario.guest is not None:
        return "a guest changes its devices as it runs: no replay can know what it left there"
    return ""


def finish(
    writer: CaptureWriter,
    scenario: Scenario,
    facts: tuple[BuildFacts, BuildFacts],
    records: Iterable[Record],
) -> str:
    """Finish the capture, if there is something to replay, else discard it: why, or "".

    :raise HistoryError: the file cannot be written
    """
    sent = {
        record.device: record.args
        for record in records
        if isinstance(record.args, Sent) and record.side is Side.SOURCE
    }
    missing = [device.id for device in scenario.devices if device.id not in sent]
    if missing:
        writer.discard()
        return f"the source did not send the state of {', '.join(missing)}"
    idstrs = idstrs_of(scenario)
    writer.finish(
        Manifest(
            harness=harness.__version__,
            scenario=to_json(scenario),
            source=facts[0],
            destination=facts[1],
            machine=facts[0].machine,
            channels=scenario.channels,
            devices=tuple(
                CapturedDevice(
                    id=device.id,
                    idstr=idstrs[device.id],
                    size=sent[device.id].bytes,
                    digest=sent[device.id].digest,
                )
                for device in scenario.devices
            ),
            records=msgspec.json.Encoder().encode_lines(
                [record for record in records if record.side is Side.SOURCE]
            ),
        )
    )
    return ""
