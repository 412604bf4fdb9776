"""Why a migration hangs, as far as the trace tells.

Names a known shape in words, so that a hang is a finding somebody can act on, and a known
deviation is told from a hang that nobody has seen yet.
"""

from harness.check.run import SAVE_THREAD_END, SAVE_THREAD_START, CheckedRun
from harness.history.records import Kind, Record, Side

SYNC_SIGNAL = "multifd_send_sync_main_signal"
SYNC_DONE = "multifd_send_sync_main"
"""Trace events of migration/trace-events; multifd_send_sync_main() of migration/multifd.c."""


def cause(run: CheckedRun, deadline: Record) -> tuple[str, list[Record]] | None:
    """What the source waits for at ``deadline``, and the records that show it; None: unknown.

    Known shape: the migration thread has asked every channel for a SYNC and never gets
    through, while threads that save device state still queue packets.  Both take tokens of
    ``channels_ready``; a channel that has sent its SYNC takes one more packet, blocks in
    sendmsg (the destination's channel waits for the flush on the main channel), and the
    token that the migration thread needs never comes.
    """
    signals = _before(run, SYNC_SIGNAL, deadline)
    done = _before(run, SYNC_DONE, deadline)
    if not signals or (done and done[-1].t_ns >= signals[-1].t_ns):
        return None
    starts = [
        record
        for device in run.scenario.devices
        for record in _before(run, SAVE_THREAD_START, deadline, device.id)
    ]
    ended = {
        device.id
        for device in run.scenario.devices
        if _before(run, SAVE_THREAD_END, deadline, device.id)
    }
    saving = sorted({start.device for start in starts} - ended)
    if not saving:
        return None
    return (
        "the source's migration thread waits in multifd_send_sync_main() for its channels "
        f"while {', '.join(saving)} still {'queues' if len(saving) == 1 else 'queue'} state",
        [signals[-1], *(start for start in starts if start.device in saving)],
    )


def _before(run: CheckedRun, name: str, deadline: Record, device: str = "") -> list[Record]:
    return [
        record
        for record in run.named(Kind.TRACE, Side.SOURCE, name, device)
        if record.t_ns < deadline.t_ns
    ]
