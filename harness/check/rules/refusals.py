"""The requirements that are about nothing but a refusal: REF-1 to REF-5, REF-7 to REF-10, LIF-2.

How each is judged is in ``check.refusal``.
"""

from harness.check.refusal import rule

REF_1 = rule(
    "REF-1",
    "A second packet with one index is refused",
    """While the first is still queued, and after it was loaded.

    If they came on two channels, which of them was the second is not known: either may be.
    """,
)
REF_2 = rule(
    "REF-2",
    "A packet for a device without multifd transfer is refused",
    "The state of such a device uses the main channel.",
)
REF_3 = rule(
    "REF-3",
    "A packet shorter than its header is refused",
    """VFIO's header (struct VFIODeviceStatePacket) has 12 bytes.

    Exactly 12 bytes are an empty buffer, which is legal: the migration then completes, and
    RUN and the ORD rules judge it.
    """,
)
REF_4 = rule(
    "REF-4",
    "A packet of an unknown version is refused",
    "The version in VFIO's header is 0.",
)
REF_5 = rule(
    "REF-5",
    "Index 0xFFFFFFFF is refused",
    "It is VFIO's largest index, which no packet may have.",
)
REF_7 = rule(
    "REF-7",
    "A configuration that is not the last packet is refused",
    """That is one with an index that was taken already, one below data that is queued, a second
    one, and data above its index.
    """,
)
REF_8 = rule(
    "REF-8",
    "A damaged configuration is refused",
    """It has a wrong marker, is cut short or is too long.  It is refused once it is loaded, or
    before.
    """,
)
REF_9 = rule(
    "REF-9",
    "A packet for an unknown idstr or instance is refused",
    """The idstr is unknown or not terminated, or the instance id is not the device's.""",
)
REF_10 = rule(
    "REF-10",
    "A damaged channel is refused",
    """Its packets have a wrong magic, version, flags or length.

    A length beyond the data takes the bytes that follow: waiting for more is right, too;
    completing is not.
    """,
)
LIF_2 = rule(
    "LIF-2",
    "Channels that close before all state has arrived are refused",
    """The migration must fail before the scenario's deadline.

    Channels that close once all packets were delivered may come too late to matter.
    """,
)
