"""Deliveries for the tests of the model: one device of four data packets by default."""

from typing import Any

from harness.model.delivery import CONFIG_MARKER, Delivery, Packet, Sent

SECOND = 1_000_000_000
SENT = Sent(indices=frozenset(range(5)), config_idx=4, config_size=300, config_digest="c")


def data(idx: int | None, channel: int = 0, **fields: Any) -> Packet:
    """A data packet; ``delivery`` numbers it."""
    usual = {"number": -1, "t_ns": 0, "device": "a", "size": 1000, "digest": f"{idx}"}
    return Packet(**{**usual, "idx": idx, "channel": channel, **fields})


def config(idx: int = 4, channel: int = 0, **fields: Any) -> Packet:
    """A configuration packet."""
    usual = {"size": 300, "digest": "c", "state_flags": 1, "marker": CONFIG_MARKER}
    return data(idx, channel, **{**usual, **fields})


def complete(*instead: Packet, of: str = "a", channel: int = 0) -> list[Packet]:
    """All packets in order, those of ``instead`` in the place of theirs."""
    packets = {idx: data(idx, channel, device=of) for idx in range(4)}
    packets[4] = config(4, channel, device=of)
    for packet in instead:
        assert packet.idx is not None
        packets[packet.idx] = packet
    return list(packets.values())


def delivery(*packets: Packet, **fields: Any) -> Delivery:
    """They are delivered in this order."""
    numbered = [
        Packet(**{name: getattr(packet, name) for name in Packet.__struct_fields__}
               | {"number": number})
        for number, packet in enumerate(packets)
    ]  # fmt: skip
    usual = {"sent": {"a": SENT}, "multifd_devices": ("a",)}
    return Delivery(**{**usual, "packets": tuple(numbered), **fields})
