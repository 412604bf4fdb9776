"""The requirements that are about nothing but a refusal: REF-1 to REF-5, REF-7 to REF-10, LIF-2.

How each is judged is in ``check.refusal``.
"""

from harness.check.refusal import rule

REF_1 = rule(
    "REF-1",
    "A second packet with one index is refused",
    """It is refused while the first is still queued, and also after the first was loaded.

    If the two came on different channels, it is not known which was the second: it may be either.
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
    """These must be refused: a configuration with an index that was used already, a configuration
    below queued data, a second configuration, and data above the configuration.
    """,
)
REF_8 = rule(
    "REF-8",
    "A damaged configuration is refused",
    """It has a wrong marker, is cut short or is too long.  It is refused when it is loaded, or
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

    A length beyond the data also takes the bytes that follow.  The destination may then wait for
    more bytes; it must not complete.
    """,
)
LIF_2 = rule(
    "LIF-2",
    "Channels that close before all state has arrived are refused",
    """The migration must fail before the scenario's deadline.

    Channels that close after all packets were delivered may close too late to matter.
    """,
)
