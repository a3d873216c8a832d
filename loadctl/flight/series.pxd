"""Curves of a recording: the least and the most of every value in each stretch of time."""

from libc.stdint cimport int32_t, int64_t

cdef class Series:
    cdef int n_circuits
    cdef int n_meters
    cdef int n_chargers
    cdef int n_stretches
    cdef int n_curves
    cdef int64_t from_ns
    cdef int64_t stretch_ns
    cdef int64_t before_ns      # of the last sample; valid when has_before
    cdef bint has_before
    cdef object memory
    cdef int32_t *lows          # [curve * n_stretches + stretch]
    cdef int32_t *highs         # below its low where there was no sample
    cdef int64_t *offered_mAms  # of each charger, over its phases
    cdef int32_t *meter_of      # of each circuit; -1: none
    cdef int32_t *n_wired       # phases of each charger

    cdef void sample(self, const unsigned char *plant, int64_t at_ns) noexcept nogil
    cdef void put(self, int curve, int stretch, int32_t value_mA) noexcept nogil
