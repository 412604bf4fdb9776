"""The human monitor of a QEMU that has mtty's serial ports (samples/vfio-mdev/mtty.c)."""

FIFO = 16


class MttyPort:
    """One port, which behaves as that of mtty, with its oddities."""

    def __init__(self):
        self.registers = [0] * 8
        self.fifo: list[int] = []
        self.divisor = 0
        self.fifo_size = 1

    @property
    def is_latched(self):
        return bool(self.registers[3] & 0x80)

    @property
    def is_empty(self):
        return len(self.fifo) % FIFO == 0  # full, head meets tail

    def write(self, at, value):
        match at:
            case 0 if self.is_latched:
                self.divisor |= value
            case 0 if len(self.fifo) < self.fifo_size:
                self.fifo.append(value)
            case 1 if self.is_latched:
                self.divisor |= value << 8
            case 2:
                self.fifo_size = FIFO if value & 1 else 1
                if value & 6:
                    self.fifo.clear()
            case 3:
                self.registers[3] = value
                if value & 0x80:
                    self.divisor = 0
            case 1 | 4 | 7:
                self.registers[at] = value

    def read(self, at):
        match at:
            case 0 if self.is_latched:
                return self.divisor & 0xFF
            case 0:
                return self.fifo.pop(0) if not self.is_empty else 0xEE
            case 1 if self.is_latched:
                return self.divisor >> 8
            case 1:
                return self.registers[1] & 0x0F
            case 2:
                return 0xC1
            case 5:
                return 0x60 if self.is_empty else 0x01
            case 6:
                return 0xB0 | (0x11 if self.registers[4] & 0x20 else 0)
        return self.registers[at]


class Ports:
    """What speaks to the ports; each is at the I/O ports from its key on."""

    def __init__(self, *places):
        self.ports = {place: MttyPort() for place in places}

    async def human(self, *lines):
        return [self._answer(line) for line in lines]

    def _answer(self, line):
        command, port, *value = line.split()
        place, at = divmod(int(port, 16), 8)
        mtty = self.ports[place * 8]
        if command == "o/b":
            mtty.write(at, int(value[0], 16))
            return ""
        assert command == "i/b"
        return f"portb[{int(port, 16):#06x}] = {mtty.read(at):#04x}\r\n"
