"""The relay **by hand**: between any two QEMUs, also on two machines with real devices."""

import re
import threading
import time
from collections.abc import Mapping
from typing import Any, TextIO

import msgspec

from harness.errors import UsageError, in_words, of_a_part
from harness.history import wire
from harness.proxy.address import Address, TcpAddress, UnixAddress
from harness.proxy.chain import build
from harness.proxy.events import MAIN
from harness.proxy.recorder import Seen
from harness.proxy.relay import Relay
from harness.scenario.fault_plan import FaultPlan

_LOOK_S = 1.0  # between two looks whether a fault has failed

_PORT = re.compile(r"[0-9]{1,5}")

ADDRESSES = "unix:PATH, or tcp:HOST:PORT, which every user of the machine can connect to"


def address(text: str) -> Address:
    """The address that ``text`` means.

    :raise UsageError: it means none
    """
    kind, _, rest = text.partition(":")
    if kind == "unix" and rest.startswith("@"):
        raise UsageError(f"{text}: every user can connect to an abstract socket: give unix:PATH")
    if kind == "unix" and rest:
        return UnixAddress(rest)
    host, _, port = rest.rpartition(":")
    if kind == "tcp" and host and _PORT.fullmatch(port) and int(port) < 1 << 16:
        return TcpAddress(host, int(port))
    raise UsageError(f"{text}: not an address: give {ADDRESSES}")


def text_of(address: Address) -> str:
    """What :func:`address` means by it."""
    if isinstance(address, UnixAddress):
        return f"unix:{address.folder / address.path}"
    return f"tcp:{address.host}:{address.port}"


def serve(
    listen: Address,
    onward: Address,
    faults: FaultPlan,
    seed: int,
    idstrs: Mapping[str, str],
    out: TextIO,
) -> int:
    """Relay until the user interrupts it; what is seen goes to ``out``, a line of JSON each.

    :param idstrs: id of each device -> its idstr, so that faults can name it
    :raise UsageError: the address cannot be listened at, or is both, or a fault names no device
    :raise VMError: a fault failed
    """
    lock = threading.Lock()
    never = threading.Event()

    def write(seen: Seen) -> None:
        line = {"t_ns": seen.t_ns, "name": seen.body.NAME, "channel": seen.channel}
        line |= {"device": seen.device} if seen.device else {}
        if isinstance(seen.body, wire.ChannelOpened) and seen.body.kind == "tls" and faults:
            line["warning"] = "TLS passes unread: faults about packets do nothing here"
        write_line(line | msgspec.to_builtins(seen.body))

    def write_line(line: dict[str, Any]) -> None:
        with lock:
            out.write(msgspec.json.encode(line).decode() + "\n")
            out.flush()

    def write_own(name: str, **args: Any) -> None:
        write_line({"t_ns": time.time_ns(), "name": name, "channel": MAIN, **args})

    chain = build(faults, seed, idstrs)
    if listen == onward:
        raise UsageError(f"{text_of(listen)}: the relay would connect to itself")
    try:
        relay = Relay(listen, onward, chain, write, reads_main=True)
    except OSError as error:
        where = text_of(listen)
        raise UsageError(f"{where}: cannot listen there: {in_words(error)}") from error
    try:
        relay.start()
        write_own("listening", at=text_of(relay.address))
        while relay.failure is None and not never.wait(_LOOK_S):
            pass
    except KeyboardInterrupt:
        pass  # so it ends: what was seen is told
    finally:
        relay.close()
    if relay.failure is not None:
        raise of_a_part("the relay", relay.failure) from relay.failure
    write_own("faults", fired=[fault.times for fault in relay.fired])
    return 0
