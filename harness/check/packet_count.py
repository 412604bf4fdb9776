"""How many data packets a device's state must make, by the best evidence that there is.

1. the scenario alone, if pre-copy takes no share (``model.buffers``): an oracle;
2. the device's own ``read`` records, if every call was answered by the harness: each
   read that gave bytes made one packet, except those that the main channel carried,
   which are counted by the source's vfio_save_block records;
3. what the main channel left over, in buffers of the size in vfio_save_setup.
"""

from typing import NamedTuple

from harness.check.evidence import SAVE_BLOCK, SAVE_SETUP, Evidence
from harness.history.device import Read
from harness.history.records import Side


class Prediction(NamedTuple):
    """Data packets; -1 if not known.  ``source``: how it is known."""

    packets: int
    source: str


def predict(evidence: Evidence, device: str) -> Prediction:
    """Data packets of ``device``; the configuration packet's index is the same number."""
    expected = evidence.expectation.device(device)
    if expected.data_packets is not None:
        return Prediction(expected.data_packets, "the scenario")
    if expected.total_bytes is None and not evidence.of(Read, Side.SOURCE, device):
        return Prediction(-1, "how much state the device has is not known")
    if not evidence.has_trace(Side.SOURCE):
        return Prediction(-1, "pre-copy takes a share, and the source has no trace")
    reads = given_reads(evidence, device)
    blocks = evidence.trace(Side.SOURCE, SAVE_BLOCK, device)
    if reads >= 0:
        return Prediction(reads - len(blocks), "the device's reads")
    setup = evidence.trace(Side.SOURCE, SAVE_SETUP, device)
    spec = next(spec for spec in evidence.devices if spec.id == device)
    if not setup or not setup[-1].args["data_buffer_size"] or spec.read_sizes:
        return Prediction(-1, "pre-copy takes a share, and the reads were not recorded")
    left = (expected.total_bytes or 0) - main_bytes(evidence, device)
    return Prediction(-(-left // setup[-1].args["data_buffer_size"]), "what pre-copy left over")


def given_reads(evidence: Evidence, device: str) -> int:
    """Reads of the source device that gave bytes; -1 if they were not recorded."""
    reads = evidence.of(Read, Side.SOURCE, device)
    if not reads:
        return -1
    return sum(1 for record in reads if record.args.got > 0 and not record.args.errno)


def main_bytes(evidence: Evidence, device: str) -> int:
    """Bytes of ``device``'s state that the main channel carried, by the source's trace."""
    return sum(
        record.args["data_size"] for record in evidence.trace(Side.SOURCE, SAVE_BLOCK, device)
    )
