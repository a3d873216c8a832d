"""A pymodbus RTU server that plays an SDM630 and two Heidelbergs, to be run as its own process.

Arguments: port, baud. The devices are tables of registers, written by other hands than ours: what
the meter reads does not follow what the chargers are told. Device 1 is the meter, 20 A on every
phase; 2 and 3 are chargers with a car that wants current.
"""

import asyncio
import sys

from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice

VOLTS, AMPS, WATTS = 230.0, 20.0, 4600.0
STATE_C2 = 7
FACTORY_WATCHDOG_ms = 15_000


def meter(address: int) -> SimDevice:
    values = [VOLTS] * 3 + [AMPS] * 3 + [WATTS] * 3
    return SimDevice(id=address, simdata=[SimData(0, values=values, datatype=DataType.FLOAT32)])


def charger(address: int) -> SimDevice:
    """Input registers 4 to 18 and holding registers 257 to 262, as the vendor's table has them."""
    status = [0x0108, STATE_C2, 0, 0, 0, 250, 230, 230, 230, 1, 0, 0, 0, 0, 0]
    control = [FACTORY_WATCHDOG_ms, 4, 1, 0, 0, 0]
    return SimDevice(
        id=address,
        simdata=[
            SimData(4, values=status, datatype=DataType.REGISTERS),
            SimData(100, values=[16, 6], datatype=DataType.REGISTERS),
            SimData(257, values=control, datatype=DataType.REGISTERS),
        ],
    )


async def serve(port: str, baud: int) -> None:
    server = ModbusSerialServer(
        [meter(1), charger(2), charger(3)],
        framer=FramerType.RTU,
        port=port,
        baudrate=baud,
        bytesize=8,
        parity="N",  # a pseudo-terminal has none
        stopbits=1,
    )
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
