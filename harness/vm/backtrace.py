"""Where a QEMU is blocked: threads from /proc, backtraces from gdb if it is installed."""

import asyncio
import shutil
from pathlib import Path

GDB_TIMEOUT_S = 10.0


def threads(pid: int) -> list[str]:
    """``TID NAME: WCHAN`` of each thread of ``pid``; empty if the process is gone."""
    found = []
    for task in sorted(Path(f"/proc/{pid}/task").glob("*")):
        try:
            name = (task / "comm").read_text().strip()
            place = (task / "wchan").read_text().strip()
        except OSError:
            continue
        found.append(f"{task.name} {name}: {place if place != '0' else 'running'}")
    return found


async def backtrace(pid: int, why_not: str = "") -> str:
    """Threads of ``pid`` with their backtraces; without gdb, only the threads and the reason.

    :param why_not: why gdb is not needed, if it is not
    """
    listing = "\n".join(threads(pid))
    if why_not:
        return f"{listing}\n(no backtrace: {why_not})"
    gdb = shutil.which("gdb")
    if gdb is None:
        return f"{listing}\n(no backtrace: gdb is not installed)"
    process = await asyncio.create_subprocess_exec(
        gdb, "-nx", "-iex", "set auto-load off", "-p", str(pid), "-batch",
        "-ex", "thread apply all bt",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(GDB_TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError:
        return f"{listing}\n(no backtrace: gdb did not end within {GDB_TIMEOUT_S:g} s)"
    finally:
        if process.returncode is None:  # too slow, or we are cancelled
            process.kill()
            await process.wait()
    return f"{listing}\n{output.decode(errors='backslashreplace')}"
