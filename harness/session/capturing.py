"""What a capture holds beside the bytes: whose they are, and what the source said meanwhile."""

from collections.abc import Iterable

import msgspec

import harness
from harness.errors import HistoryError
from harness.history import Record, Side
from harness.history.builds import BuildFacts
from harness.proxy.capture import CapturedDevice, CaptureWriter, Manifest
from harness.scenario import Scenario, to_json
from harness.session.link import idstr_of
from harness.session.peer import Peer


def finish(
    writer: CaptureWriter,
    scenario: Scenario,
    source: Peer,
    facts: tuple[BuildFacts, BuildFacts],
    records: Iterable[Record],
) -> None:
    """Let the capture appear.

    :raise HistoryError: the source has not sent all of its state, so there is nothing to
        replay; or the file cannot be written
    """
    sent = {r.device: r.args for r in records if r.name == "sent" and r.side is Side.SOURCE}
    missing = [device.id for device in scenario.devices if device.id not in sent]
    if missing:
        writer.discard()
        raise HistoryError(
            f"{writer.path}: not written: the source did not send the state of "
            f"{', '.join(missing)}; capture a migration that completes"
        )
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
                    idstr=idstr_of(index),
                    size=sent[device.id]["bytes"],
                    digest=sent[device.id]["digest"],
                )
                for index, device in enumerate(scenario.devices)
            ),
            records=msgspec.json.Encoder().encode_lines(
                [record for record in records if record.side is Side.SOURCE]
            ),
        )
    )
