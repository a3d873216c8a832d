"""RTU frames as a device builds them, for tests that speak bytes."""

from hw.wire import WRITE_MANY, Exchange, crc16


def frame(*parts: int | bytes) -> bytes:
    body = b"".join(part if isinstance(part, bytes) else bytes((part,)) for part in parts)
    return body + crc16(body)


def request_frame(exchange: Exchange) -> bytes:
    head = exchange.register.to_bytes(2, "big")
    if exchange.function == WRITE_MANY:
        head += exchange.count.to_bytes(2, "big") + bytes((2 * exchange.count,))
    if exchange.is_write:
        return frame(exchange.address, exchange.function, head + exchange.values)
    return frame(exchange.address, exchange.function, head + exchange.count.to_bytes(2, "big"))


def read_reply(address: int, function: int, payload: bytes) -> bytes:
    return frame(address, function, len(payload), payload)


def refusal(address: int, function: int, code: int) -> bytes:
    return frame(address, function | 0x80, code)


def answer(request: bytes) -> bytes:
    """What a well device says: the number of each register read, or the acknowledgement."""
    address, function = request[0], request[1]
    register = int.from_bytes(request[2:4], "big")
    if function in (6, 16):
        return frame(address, function, request[2:6])
    count = int.from_bytes(request[4:6], "big")
    values = (number.to_bytes(2, "big") for number in range(register, register + count))
    return read_reply(address, function, b"".join(values))


def request_length(begun: bytes) -> int:
    """How long a request will be, from what has come of it; more than is there if unknown."""
    if len(begun) > 6 and begun[1] == WRITE_MANY:
        return 9 + begun[6]
    return 8
