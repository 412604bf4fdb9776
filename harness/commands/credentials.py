"""``vfio-multifd credentials``: create TLS credentials for a scenario."""

import argparse
from pathlib import Path

from harness import scenario
from harness.errors import UsageError
from harness.vm.credentials import Credentials


def add(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.description = (
        "Creates the TLS credentials that a scenario asks for, new ones each time: FOLDER/source "
        "and FOLDER/destination, each the dir of QEMU's tls-creds-psk or tls-creds-x509 on that "
        "side.  FOLDER contains private keys: remove it after use."
    )
    parser.add_argument("--scenario", type=Path, required=True, metavar="FILE",
                        help="scenario with tls")  # fmt: skip
    parser.add_argument("folder", type=Path, metavar="FOLDER",
                        help="folder to create; must not exist yet")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Run it; the exit status.

    :raise UsageError: the scenario uses no TLS
    """
    wanted = scenario.load(options.scenario)
    if not wanted.has_tls:
        raise UsageError(f"{options.scenario}: tls is {wanted.tls}: it needs no credentials")
    Credentials(wanted, options.folder).write()
    return 0
