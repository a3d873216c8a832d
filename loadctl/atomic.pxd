"""Words in shared memory that one process writes and others read: a reader that sees a word also
sees what was written before it."""

from libc.stdint cimport uint32_t

cdef extern from *:
    """
    #include <stdatomic.h>
    #include <stdint.h>
    /* 32 bits: wider atomics are not lock-free on every arm. */
    _Static_assert(ATOMIC_INT_LOCK_FREE == 2, "32-bit atomics must be lock-free");
    static inline uint32_t load_acquire(uint32_t *at) {
        return atomic_load_explicit((_Atomic uint32_t *)at, memory_order_acquire);
    }
    static inline void store_release(uint32_t *at, uint32_t value) {
        atomic_store_explicit((_Atomic uint32_t *)at, value, memory_order_release);
    }
    static inline void fence(void) { atomic_thread_fence(memory_order_acq_rel); }
    """
    uint32_t load_acquire(uint32_t *at) noexcept nogil
    void store_release(uint32_t *at, uint32_t value) noexcept nogil
    void fence() noexcept nogil
