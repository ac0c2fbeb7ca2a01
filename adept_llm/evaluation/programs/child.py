"""What runs in the sandbox: a program that answers with values, or a judge that compares them.

This file imports nothing but the standard library, since its text is all that the process gets. The
request comes on standard input, as JSON, the answer goes to what was standard output.

No secret is in here. The process of a program holds the program, the lines that the tests run
before, and the calls whose values they ask for. What the values are compared with is in the judge's
process, where no program runs, so whatever a program writes is only a claim about its values.
"""

import json
import os
import resource
import sys
from collections.abc import Mapping, Set
from decimal import Decimal
from fractions import Fraction
from typing import Any

NOBODY = 65534
Scope = dict[str, Any]


def main() -> None:
    """Read the request, give up all rights, run, answer."""
    request = json.load(sys.stdin)
    answer = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    if not request["sandboxed"]:
        leave_network()
    if os.getuid() == 0:
        become_nobody(keep_reading=not request["sandboxed"])
    for name, value in request["limits"].items():
        kind = getattr(resource, name)
        try:
            resource.setrlimit(kind, (value, value))
        except (ValueError, OSError):
            if sys.platform == "linux":
                raise  # macOS has no limit of memory
    told = judge(request) if "values" in request else run(request)
    while told:
        told = told[os.write(answer, told) :]


def run(request: dict[str, Any]) -> bytes:
    """Run a program and the tests' own lines behind it, and tell the values that they ask for."""
    scope: Scope = {"__name__": "__main__"}
    exec(compile(request["program"], "program", "exec"), scope)
    values = []
    for kind, source in request["steps"]:
        if kind == "value":
            values.append(encode(eval(compile(source, "test", "eval"), scope)))
        else:
            exec(compile(source, "test", "exec"), scope)
    return json.dumps(values).encode()


def judge(request: dict[str, Any]) -> bytes:
    """Say 'passed' if the tests hold for the values of a program, which does not run here."""
    values = decode(json.loads(request["values"]))
    names = request["names"]
    if not isinstance(values, list) or len(values) != len(names):
        return b"failed"
    scope: Scope = dict(zip(names, values, strict=True))
    exec(compile(request["tests"], "test", "exec"), scope)
    return b"passed"


def encode(value: Any) -> Any:
    """Plain data as JSON; what a subclass adds to it is left out.

    Raises:
        TypeError: for any other object.
    """
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return {"int": hex(value)}  # of any length: decimal digits have a limit
    if isinstance(value, float):
        return {"float": float.hex(value)}
    if isinstance(value, complex):
        return {"complex": [float.hex(value.real), float.hex(value.imag)]}
    if isinstance(value, bytes | bytearray):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, Decimal | Fraction):
        return {type(value).__name__: str(value)}
    if isinstance(value, list):
        return [encode(one) for one in value]
    if isinstance(value, tuple):
        return {"tuple": [encode(one) for one in value]}
    if isinstance(value, Set):
        kind = "frozenset" if isinstance(value, frozenset) else "set"
        return {kind: [encode(one) for one in value]}
    if isinstance(value, Mapping):
        return {"dict": [[encode(key), encode(one)] for key, one in value.items()]}
    raise TypeError(f"{type(value).__name__} is no plain data")


def decode(told: Any) -> Any:
    """What `encode` encoded.

    Raises:
        ValueError, TypeError, LookupError: for anything else.
    """
    if told is None or isinstance(told, bool | str):
        return told
    if isinstance(told, list):
        return [decode(one) for one in told]
    ((kind, content),) = told.items()
    if kind in FROM_TEXT:
        return FROM_TEXT[kind](content)
    if kind == "complex":
        return complex(*map(float.fromhex, content))
    if kind == "dict":
        return {decode(key): decode(one) for key, one in content}
    kinds: dict[str, Any] = {"tuple": tuple, "set": set, "frozenset": frozenset}
    return kinds[kind](map(decode, content))


FROM_TEXT: dict[str, Any] = {
    "int": lambda text: int(text, 16),
    "float": float.fromhex,
    "bytes": bytes.fromhex,
    "Decimal": Decimal,
    "Fraction": Fraction,
}


def leave_network() -> None:
    """Where there is no sandbox: into a network of its own, else only without Python's sockets."""
    import ctypes
    import socket

    net, user = 0x40000000, 0x10000000
    unshare = getattr(ctypes.CDLL(None, use_errno=True), "unshare", None)
    if unshare is None or (unshare(net) and unshare(net | user)):

        def refuse(*args: Any, **kwargs: Any) -> Any:
            raise OSError("no network here")

        socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse  # type: ignore[method-assign]


def become_nobody(keep_reading: bool) -> None:
    """Root is bound by no limit of processes; 'nobody' is.

    Args:
        keep_reading: With the right to read every file. Without a sandbox Python itself may stand
            where only root can read it.
    """
    libc: Any = None
    if keep_reading and sys.platform == "linux":
        import ctypes

        keep_capabilities = 8
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(keep_capabilities, 1, 0, 0, 0)
    try:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    except OSError:
        return  # root of a user namespace of its own: the limits bind it
    if libc:
        read = (ctypes.c_uint32 * 6)(4, 4)
        libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), read)


if __name__ == "__main__":
    main()
