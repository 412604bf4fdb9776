"""One device's queue at the destination: what may happen next, and what is still due.

Written from the requirements ORD-1 to ORD-5 and REF-1, REF-5, REF-7, and from the
description in QEMU's docs/devel/migration/vfio.rst; not from the code that does it.

The device's state travels as packets, numbered from 0 without a gap, over any channel
in any order.  The highest number is the configuration, flagged as such; all others are
data.  One load thread takes them strictly in order::

               arrive(idx)            load_start(next)        load_end(next)
    channels ─────────────► queued ──────────────────► loading ────────────► next + 1
                                         (neither of them for an empty buffer,
                                          config_start and config_end for the last)

It may wait ("starve") for the number that is next, as long as that one has not been
queued; it may wait for nothing else.

Each method takes one event and updates the queue.  It returns "" if the specification allows
the event, else a sentence that names the contradiction.
After a contradiction the queue follows what happened, so that one deviation is reported
once.  What a packet is may be unknown (``is_config`` and ``is_empty`` None): then only
what contradicts both readings is a contradiction.
"""

HIGHEST_IDX = 0xFFFFFFFE
"""0xFFFFFFFF is not an index (REF-5)."""


class DestinationQueue:
    """The queue of one device, from its first packet to its configuration's load.

    :ivar next_idx: the packet that the load thread needs next
    :ivar loading: the packet that is being loaded; -1 if none
    :ivar config_idx: the packet flagged as configuration; -1 if none was seen
    :ivar is_config_loaded: whether the end was reached
    """

    def __init__(self) -> None:
        self.next_idx = 0
        self.loading = -1
        self.config_idx = -1
        self.is_config_loaded = False
        self._is_config_loading = False
        self._queued: dict[int, bool | None] = {}  # idx -> whether it is empty
        self._highest = -1

    # -- what happens ----------------------------------------------------------------

    def arrive(self, idx: int, is_config: bool | None = None, is_empty: bool | None = None) -> str:
        """A packet arrived.  A contradiction is a packet that must be refused."""
        if not 0 <= idx <= HIGHEST_IDX:
            return f"packet {idx} has no valid index"
        if idx in self._queued:
            return f"packet {idx} arrived while it was queued already"
        if idx < self.next_idx:
            return f"packet {idx} arrived after it had been loaded"
        problem = ""
        if is_config and self.config_idx >= 0:
            problem = f"packet {idx} is a second configuration, after packet {self.config_idx}"
        elif is_config and idx < self._highest:
            problem = f"packet {idx} is the configuration, but packet {self._highest} was before it"
        elif 0 <= self.config_idx < idx:
            problem = f"packet {idx} follows the configuration, which is packet {self.config_idx}"
        if is_config:
            self.config_idx = idx
        self._highest = max(self._highest, idx)
        self._queued[idx] = is_empty
        return problem

    def starve(self, idx: int) -> str:
        """The load thread waits for packet ``idx``."""
        self._pass_empty(idx)
        if self.loading >= 0:
            return f"it waits for packet {idx} while packet {self.loading} is being loaded"
        if idx != self.next_idx:
            return f"it waits for packet {idx} while packet {self.next_idx} is next"
        return ""

    def load_start(self, idx: int) -> str:
        """The load thread begins to write packet ``idx`` to the device."""
        problem = ""
        if self.is_config_loaded or self._is_config_loading:
            problem = f"packet {idx} was loaded after the configuration"
        elif self.loading >= 0:
            problem = f"packet {idx} was begun while packet {self.loading} was being loaded"
        elif idx < self.next_idx:
            problem = f"packet {idx} was loaded again; packet {self.next_idx} was next"
        else:
            self._pass_empty(idx)
            if idx != self.next_idx:
                problem = f"packet {idx} was loaded while packet {self.next_idx} was next"
            elif idx not in self._queued:
                problem = f"packet {idx} was loaded before it had arrived"
            elif idx == self.config_idx:
                problem = f"packet {idx} was loaded as data, but it is the configuration"
        self.loading = idx
        return problem

    def load_end(self, idx: int) -> str:
        """Packet ``idx`` has been written to the device."""
        problem = "" if idx == self.loading else f"the load of packet {idx} ended, but never began"
        self.loading = -1
        self._queued.pop(idx, None)
        self.next_idx = max(self.next_idx, idx + 1)
        return problem

    def config_start(self) -> str:
        """The load of the configuration begins."""
        problem = ""
        if self.is_config_loaded or self._is_config_loading:
            problem = "the configuration was loaded a second time"
        elif self.loading >= 0:
            problem = f"the configuration was loaded while packet {self.loading} was being loaded"
        else:
            last = self.config_idx if self.config_idx >= 0 else self._highest
            self._pass_empty(last)
            if self.next_idx != last:
                problem = (
                    f"the configuration was loaded while data packet {self.next_idx} was next"
                    if self.next_idx < last
                    else "the configuration was loaded, but no packet for it arrived"
                )
        self._is_config_loading = True
        return problem

    def config_end(self) -> str:
        """The configuration has been loaded."""
        problem = (
            "" if self._is_config_loading else "the configuration's load ended, but never began"
        )
        self._is_config_loading = False
        self.is_config_loaded = True
        return problem

    # -- what is due -----------------------------------------------------------------

    @property
    def is_next_queued(self) -> bool:
        """Whether the next packet is queued and none is being loaded: it must be loaded."""
        return self.loading < 0 and not self.is_config_loaded and self.next_idx in self._queued

    @property
    def may_starve(self) -> bool:
        """Whether the load thread can only wait."""
        return not self.is_config_loaded and self.loading < 0 and self.next_idx not in self._queued

    @property
    def queued(self) -> int:
        """Packets that have arrived and are not loaded."""
        return len(self._queued)

    def missing(self) -> str:
        """What is still due at the end of the run; "" if nothing."""
        if self.is_config_loaded:
            return ""
        if self.loading >= 0:
            return f"the load of packet {self.loading} never ended"
        if self._is_config_loading:
            return "the load of the configuration never ended"
        if self.next_idx in self._queued:
            what = "the configuration" if self.next_idx == self.config_idx else "it"
            return f"packet {self.next_idx} arrived and was next, but {what} was never loaded"
        return f"packet {self.next_idx} never arrived"

    def _pass_empty(self, until: int) -> None:
        """Skip queued packets that are, or may be, empty: they are not loaded."""
        while self.next_idx < until and self._queued.get(self.next_idx, False) is not False:
            del self._queued[self.next_idx]
            self.next_idx += 1
