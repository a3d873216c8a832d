"""A pymodbus RTU server on a serial port or over TCP, to be run as a process of its own.

Arguments: port and baud, or "tcp" and a port number. Devices 1 and 2 hold registers 0 to 99 of both
kinds, each with its own number as its value; 100 and up do not exist.
"""

import asyncio
import sys

from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice


def device(address: int) -> SimDevice:
    return SimDevice(
        id=address,
        simdata=[SimData(0, values=list(range(100)), datatype=DataType.REGISTERS)],
    )


async def serve(port: str, baud: int) -> None:
    server = ModbusSerialServer(
        [device(1), device(2)],
        framer=FramerType.RTU,
        port=port,
        baudrate=baud,
        bytesize=8,
        parity="N",  # a pseudo-terminal has none
        stopbits=1,
    )
    await server.serve_forever()


async def serve_tcp(port: int) -> None:
    server = ModbusTcpServer(
        [device(1), device(2)], framer=FramerType.RTU, address=("127.0.0.1", port)
    )
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "tcp":
        asyncio.run(serve_tcp(int(sys.argv[2])))
    else:
        asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
