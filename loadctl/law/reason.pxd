from libc.stdint cimport int32_t, int64_t

from loadctl.law.layout cimport charger_t
from loadctl.law.tables cimport law_t

cpdef enum Reason:
    UNKNOWN = 0
    OWN_MAXIMUM = 1
    FULL = 2
    NO_ROOM_FOR_MINIMUM = 3
    NO_CAR = 4
    NOT_READY = 5
    STATUS_UNKNOWN = 6
    NOT_ARMED = 7
    SILENT = 8
    ISOLATED = 9
    CONTROLLER_MODE = 10
    WAITS_AFTER_PAUSE = 11
    WAITS_FOR_PROOF = 12
    WAITS_FOR_METER = 13
    WAITS_AFTER_CUT = 14
    RAMPS_UP = 15
    STARTS_SOFTLY = 16
    WAITS_FOR_TURN = 17
    CLOSE_ENOUGH = 18
    MAKES_ROOM = 19
    NOT_ACKNOWLEDGED = 20
    DOES_NOT_FOLLOW = 21
    STARVED = 22
    WAITS_FOR_PLACE = 23
    METER_SILENT = 24
    TAKES_LESS = 25
    DONE = 26
    IS_OFFERED = 27
    FULL_FROM_OUTSIDE = 40
    NO_ROOM_FROM_OUTSIDE = 41
    COOLS_DOWN = 50
    DISABLED = 60
    RESTS_AFTER_PAUSE = 61

cdef void explain(charger_t *charger, int32_t reason) noexcept nogil
cdef void explain_limit(charger_t *charger, int32_t reason, int32_t limit_i) noexcept nogil
cdef void explain_full(law_t *law, int32_t i, int32_t reason, int32_t limit_i) noexcept nogil
cdef void explain_share(law_t *law, int32_t i, int32_t limit_i) noexcept nogil
cdef void explain_wait(charger_t *charger, int32_t reason, int64_t wait_ns) noexcept nogil
