"""Broken twins of runs with the kernel's own devices."""

from harness.history.records import Record, Side, plain
from tests.twins.damage import Unfit, held, one, pick, swap
from tests.twins.twin import twin

DST = Side.DESTINATION


@twin("ORD-1", on="kernel's devices")
def modem_control_lost(records: list[Record]) -> list[Record]:
    port = one(records, "guest_serial", side=DST)
    registers = {**held(port).registers, "mcr": 0}
    return swap(records, [port], registers=registers)


@twin("ORD-1", on="kernel's devices")
def fifo_out_of_order(records: list[Record]) -> list[Record]:
    port = one(records, "guest_serial", side=DST)
    fifo = bytes.fromhex(held(port).registers["fifo"])
    return swap(records, [port], registers={**held(port).registers, "fifo": fifo[::-1].hex()})


@twin("ORD-6", "ORD-1", on="kernel's devices")
def ports_of_another_device(records: list[Record]) -> list[Record]:
    ports = pick(records, "guest_serial", side=DST)
    if len({port.device for port in ports}) < 2:
        raise Unfit("one device only")
    other = next(port for port in ports if port.device != ports[0].device)
    return swap(records, [ports[0]], registers=held(other).registers)


@twin("STA-2", on="kernel's devices")
def state_is_told_that_was_not_set(records: list[Record]) -> list[Record]:
    event = next(
        (r for r in pick(records, "VFIO_MIGRATION") if plain(r)["device-state"] == "resuming"), None
    )
    if event is None:
        raise Unfit("nothing is loaded")
    return swap(records, [event], **{"device-state": "stop-copy"})
