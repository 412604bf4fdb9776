"""``vfio-multifd relay``: relay a migration between two QEMUs, with faults.

Any two QEMUs, also on two machines with real devices.
"""

import argparse
import re
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import msgspec

from harness import scenario
from harness.commands.arguments import add_fault, faults
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

ADDRESSES = "unix:PATH, or tcp:HOST:PORT, to which every user of the machine can connect"


def add(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.description = (
        "Relays a migration between any two QEMUs, also on two machines with real devices: the "
        "source migrates to --listen, the destination listens at --to.  Prints what it sees and "
        "does, one JSON document per line, until it is interrupted.  An ADDRESS is unix:PATH, to "
        "which only its owner can connect, or tcp:HOST:PORT, to which everybody who reaches the "
        "port can connect (on loopback: every user of the machine)."
    )
    parser.add_argument("--listen", required=True, metavar="ADDRESS",
                        help="address for the source to migrate to")  # fmt: skip
    parser.add_argument("--to", required=True, metavar="ADDRESS",
                        help="address that the destination listens at")  # fmt: skip
    parser.add_argument("--scenario", type=Path, metavar="FILE",
                        help="scenario to take faults, seed and the devices' ids from")  # fmt: skip
    add_fault(parser)
    parser.add_argument("--seed", type=int, metavar="N",
                        help="seed of faults (default: the scenario's, or 0)")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Run it; the exit status."""
    seed, plan = 0, faults(options.fault)
    idstrs: dict[str, str] = {}
    if options.scenario is not None:
        from harness.session.link import idstrs_of  # noqa: PLC0415 - it imports asyncio

        wanted = scenario.load(options.scenario)
        seed, plan, idstrs = wanted.seed, plan or wanted.faults, idstrs_of(wanted)
    if options.seed is not None:
        seed = options.seed
    listen, onward = address(options.listen), address(options.to)
    return serve(listen, onward, plan, seed, idstrs, sys.stdout)


def address(text: str) -> Address:
    """The address that ``text`` names.

    :raise UsageError: it names none
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
    """The text that :func:`address` reads."""
    if isinstance(address, UnixAddress):
        return f"unix:{address.folder / address.path}"
    return f"tcp:{address.host}:{address.port}"


def serve(
    listen: Address,
    onward: Address,
    plan: FaultPlan,
    seed: int,
    idstrs: Mapping[str, str],
    out: TextIO,
) -> int:
    """Relay until it is interrupted; what it sees goes to ``out``, one JSON document per line.

    :param idstrs: id of each device -> its idstr, so that faults can name it
    :raise UsageError: the address cannot be listened at, or is both, or a fault names no device
    :raise VMError: a fault failed
    """
    lock = threading.Lock()
    never = threading.Event()

    def write(seen: Seen) -> None:
        line = {"t_ns": seen.t_ns, "name": seen.body.NAME, "channel": seen.channel}
        line |= {"device": seen.device} if seen.device else {}
        if isinstance(seen.body, wire.ChannelOpened) and seen.body.kind == "tls" and plan:
            line["warning"] = "TLS cannot be read: faults about packets have no effect here"
        write_line(line | msgspec.to_builtins(seen.body))

    def write_line(line: dict[str, Any]) -> None:
        with lock:
            out.write(msgspec.json.encode(line).decode() + "\n")
            out.flush()

    def write_own(name: str, **args: Any) -> None:
        write_line({"t_ns": time.time_ns(), "name": name, "channel": MAIN, **args})

    chain = build(plan, seed, idstrs)
    if listen == onward:
        raise UsageError(f"{text_of(listen)}: the relay would connect to itself")
    try:
        relay = Relay(listen, onward, chain, write, has_digests=True, reads_main=True)
    except OSError as error:
        where = text_of(listen)
        raise UsageError(f"{where}: cannot listen: {in_words(error)}") from error
    try:
        relay.start()
        write_own("listening", at=text_of(relay.address))
        while relay.failure is None and not never.wait(_LOOK_S):
            pass
    except KeyboardInterrupt:
        pass  # this is how it ends
    finally:
        relay.close()
    if relay.failure is not None:
        raise of_a_part("the relay", relay.failure) from relay.failure
    write_own("faults", fired=[fault.times for fault in relay.fired])
    return 0
