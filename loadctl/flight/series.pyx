"""Curves of a recording: the least and the most of every value in each stretch of time.

Owns the arrays that a plot is drawn from, sized when it is made, so that a day of scans becomes as
many stretches as a plot has points, and no peak is lost. Also sums up what each charger was
offered. Reads the plant block, never writes it.
"""

cimport cython
from libc.stdint cimport int32_t, int64_t

from loadctl.law.layout cimport charger_t, circuit_t, meter_t, site_t

cdef enum:
    PER_CIRCUIT = 12    # [what * 3 + phase], as CIRCUIT_CURVES
    PER_CHARGER = 2
    LONGEST_ns = 10_000_000_000     # a longer step between samples is a gap: nothing was offered

CIRCUIT_CURVES = ("limit", "meter", "background", "granted")
CHARGER_CURVES = ("setpoint", "draw")


def chargers_of(const unsigned char[::1] plant, int n_circuits, int n_meters, int n_chargers):
    """(setpoint_mA, draw_mA of each grid phase, is_silent) of every charger of a plant block."""
    cdef Py_ssize_t at = (
        sizeof(site_t) + n_circuits * sizeof(circuit_t) + n_meters * sizeof(meter_t)
    )
    cdef const charger_t *chargers
    cdef int i
    if plant.shape[0] != at + n_chargers * <Py_ssize_t>sizeof(charger_t):
        raise ValueError(f"plant block: {plant.shape[0]} bytes are of another site")
    if n_chargers == 0:
        return []
    chargers = <const charger_t *>&plant[at]
    return [
        (
            chargers[i].setpoint_mA,
            (chargers[i].draw_mA[0], chargers[i].draw_mA[1], chargers[i].draw_mA[2]),
            bool(chargers[i].is_silent),
        )
        for i in range(n_chargers)
    ]


@cython.final
cdef class Series:
    """See `series.pyi`."""

    def __init__(self, meter_of, n_wired, int n_meters, int64_t from_ns, int64_t to_ns,
                 int n_stretches):
        cdef Py_ssize_t n_values, n_bytes, k
        cdef unsigned char[::1] view
        self.n_circuits, self.n_meters = len(meter_of), n_meters
        self.n_chargers, self.n_stretches = len(n_wired), n_stretches
        self.from_ns = from_ns
        self.stretch_ns = max(<int64_t>1, (to_ns - from_ns) // n_stretches + 1)
        self.n_curves = PER_CIRCUIT * self.n_circuits + PER_CHARGER * self.n_chargers
        n_values = self.n_curves * n_stretches
        n_bytes = 8 * self.n_chargers + 8 * n_values + 4 * (self.n_circuits + self.n_chargers)
        self.memory = bytearray(n_bytes + 8)
        view = self.memory
        self.offered_mAms = <int64_t *>&view[0]
        self.lows = <int32_t *>(self.offered_mAms + self.n_chargers)
        self.highs = self.lows + n_values
        self.meter_of = self.highs + n_values
        self.n_wired = self.meter_of + self.n_circuits
        for k in range(n_values):
            self.highs[k] = -1
        for k in range(self.n_circuits):
            self.meter_of[k] = meter_of[k]
        for k in range(self.n_chargers):
            self.n_wired[k] = n_wired[k]

    def take(self, const unsigned char[::1] plant, int64_t at_ns):
        """One sample of a plant block of the site's size."""
        self.sample(&plant[0], at_ns)

    cdef void sample(self, const unsigned char *plant, int64_t at_ns) noexcept nogil:
        cdef const circuit_t *circuits = <const circuit_t *>(plant + sizeof(site_t))
        cdef const meter_t *meters = <const meter_t *>(circuits + self.n_circuits)
        cdef const charger_t *chargers = <const charger_t *>(meters + self.n_meters)
        cdef int64_t scan_i = (<const site_t *>plant).scan_i
        cdef int64_t stretch = (at_ns - self.from_ns) // self.stretch_ns
        cdef int64_t span_ns = at_ns - self.before_ns if self.has_before else 0
        cdef int c, p, i, m, curve
        self.before_ns, self.has_before = at_ns, True
        if at_ns < self.from_ns or stretch >= self.n_stretches:
            return
        for c in range(self.n_circuits):
            m = self.meter_of[c]
            curve = PER_CIRCUIT * c
            for p in range(3):
                self.put(curve + p, stretch, circuits[c].limit_mA[p])
                if m >= 0 and meters[m].has_value and meters[m].read_scan_i == scan_i:
                    self.put(curve + 3 + p, stretch, meters[m].load_mA[p])
                self.put(curve + 6 + p, stretch, circuits[c].background_mA[p])
                self.put(curve + 9 + p, stretch, circuits[c].granted_mA[p])
        curve = PER_CIRCUIT * self.n_circuits
        for i in range(self.n_chargers):
            self.put(curve, stretch, chargers[i].setpoint_mA)
            self.put(curve + 1, stretch, max(
                chargers[i].draw_mA[0], chargers[i].draw_mA[1], chargers[i].draw_mA[2]
            ))
            curve += PER_CHARGER
            if 0 < span_ns <= <int64_t>LONGEST_ns:
                self.offered_mAms[i] += (
                    <int64_t>chargers[i].setpoint_mA * self.n_wired[i] * (span_ns // 1_000_000)
                )

    cdef void put(self, int curve, int stretch, int32_t value_mA) noexcept nogil:
        cdef Py_ssize_t at = <Py_ssize_t>curve * self.n_stretches + stretch
        if self.highs[at] < self.lows[at]:
            self.lows[at] = self.highs[at] = value_mA
        elif value_mA < self.lows[at]:
            self.lows[at] = value_mA
        elif value_mA > self.highs[at]:
            self.highs[at] = value_mA

    def _curve(self, int curve):
        cdef Py_ssize_t at = <Py_ssize_t>curve * self.n_stretches, k
        return [
            (self.lows[k], self.highs[k]) if self.lows[k] <= self.highs[k] else None
            for k in range(at, at + self.n_stretches)
        ]

    def circuit(self, int circuit_i, what, int phase):
        if not (0 <= circuit_i < self.n_circuits and 0 <= phase < 3):
            raise IndexError(f"circuit {circuit_i}, phase {phase}")
        return self._curve(PER_CIRCUIT * circuit_i + 3 * CIRCUIT_CURVES.index(what) + phase)

    def charger(self, int charger_i, what):
        if not 0 <= charger_i < self.n_chargers:
            raise IndexError(f"charger {charger_i} of {self.n_chargers}")
        first = PER_CIRCUIT * self.n_circuits + PER_CHARGER * charger_i
        return self._curve(first + CHARGER_CURVES.index(what))

    def offered(self):
        cdef int i
        return [self.offered_mAms[i] for i in range(self.n_chargers)]
