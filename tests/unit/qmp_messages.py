"""What programs that stand in for a QEMU read from their monitor, as text of such a program."""

MESSAGES = """\
def messages(talk):
    pending = ""
    while data := talk.recv(65536):
        pending += data.decode()
        while pending.strip():
            try:
                message, end = json.JSONDecoder().raw_decode(pending)
            except ValueError:
                break
            pending = pending[end:].lstrip()
            yield message
"""
"""Defines ``messages(socket)``, which yields each message; the program has imported json."""
