"""Commands for a migration by hand: serve, relay, qmp, credentials."""

import argparse
import re
import sys
from pathlib import Path

from harness.commands.arguments import (
    Commands,
    add_fault,
    command_of,
    faults,
    seconds,
)
from harness.errors import UsageError
from harness.history import Side
from harness.report.summary import PROGRAM


def add(commands: Commands) -> None:
    """Add them."""
    _add_serve(commands.add_parser("serve", help="run a QEMU by hand, with emulated devices"))
    _add_relay(commands.add_parser("relay", help="stand between two QEMUs run by hand"))
    _add_qmp(commands.add_parser("qmp", help="send QMP commands to a QEMU run by hand"))
    _add_credentials(commands.add_parser("credentials", help="make TLS credentials"))


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(call=_serve)
    parser.usage = f"{PROGRAM} serve --scenario FILE --side SIDE -- QEMU ARGS... @devices@ ..."
    parser.description = (
        "Runs a QEMU command line in the foreground with the scenario's devices in the place "
        "of @devices@; reports at its end what they did.  What that QEMU makes is yours alone, "
        "its monitor's socket too."
    )
    parser.add_argument("--scenario", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--side", choices=[Side.SOURCE.value, Side.DESTINATION.value], required=True
    )
    parser.add_argument("argv", nargs=argparse.REMAINDER, metavar="QEMU ARGS...")


def _add_relay(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(call=_relay)
    parser.description = (
        "Stands between any two QEMUs, also of two machines with real devices: the source "
        "migrates to --listen, the destination listens at --to.  Tells all that it sees and "
        "does, a line of JSON each, until it is interrupted.  Addresses: unix:PATH, which only "
        "its owner can connect to, or tcp:HOST:PORT, which everybody can who reaches the port: "
        "on loopback every user of the machine."
    )
    parser.add_argument("--listen", required=True, metavar="ADDRESS")
    parser.add_argument("--to", required=True, metavar="ADDRESS")
    parser.add_argument("--scenario", type=Path, metavar="FILE",
                        help="take faults, seed and devices' ids from it")  # fmt: skip
    add_fault(parser)
    parser.add_argument("--seed", type=int, metavar="N",
                        help="of faults (default: the scenario's, or 0)")  # fmt: skip


def _add_qmp(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(call=_qmp)
    parser.description = (
        "Sends QMP commands, one a line of standard input: JSON, or a name alone.  Prints "
        "replies and events.  Exit status 1: a command was refused."
    )
    parser.add_argument("socket", type=Path, metavar="SOCKET", help="of -qmp unix:SOCKET,server=on")
    parser.add_argument("--until", type=_event, action="append", default=[],
                        metavar="EVENT[=STATUS]",
                        help="then wait for this event; given again: for any")  # fmt: skip
    parser.add_argument("--timeout", type=seconds, default=60.0, metavar="SECONDS",
                        help="of each command and of the wait (default: 60)")  # fmt: skip


def _add_credentials(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(call=_credentials)
    parser.description = (
        "Makes the TLS credentials that the scenario asks for, new ones each time: a folder for "
        "each side, source and destination, as the dir of QEMU's tls-creds-psk or "
        "tls-creds-x509.  FOLDER holds private keys: remove it when you are done."
    )
    parser.add_argument("--scenario", type=Path, required=True, metavar="FILE")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="must not exist yet")


def _event(text: str) -> str:
    if re.fullmatch(r"[^\s=]+(=[^\s=]+)?", text) is None:
        raise argparse.ArgumentTypeError(f"'{text}' is not like MIGRATION or MIGRATION=completed")
    return text


def _serve(options: argparse.Namespace) -> int:
    from harness import by_hand, scenario  # noqa: PLC0415

    example = f"serve: no QEMU to run: vfio-multifd serve ... -- QEMU {by_hand.DEVICES}"
    argv = command_of(options, example)
    return by_hand.serve(scenario.load(options.scenario), Side(options.side), argv, sys.stderr)


def _relay(options: argparse.Namespace) -> int:
    from harness import by_relay, scenario  # noqa: PLC0415
    from harness.session.link import idstrs_of  # noqa: PLC0415

    wanted = scenario.load(options.scenario) if options.scenario else None
    seed = wanted.seed if wanted else 0
    return by_relay.serve(
        by_relay.address(options.listen),
        by_relay.address(options.to),
        faults(options.fault) or (wanted.faults if wanted else ()),
        seed if options.seed is None else options.seed,
        idstrs_of(wanted) if wanted else {},
        sys.stdout,
    )


def _qmp(options: argparse.Namespace) -> int:
    from harness import by_hand  # noqa: PLC0415

    return by_hand.converse(options.socket, sys.stdin, options.until, options.timeout)


def _credentials(options: argparse.Namespace) -> int:
    from harness import scenario  # noqa: PLC0415
    from harness.vm.credentials import Credentials  # noqa: PLC0415

    wanted = scenario.load(options.scenario)
    if not wanted.has_tls:
        raise UsageError(f"{options.scenario}: tls is {wanted.tls}: it asks for no credentials")
    Credentials(wanted, options.folder).write()
    return 0
