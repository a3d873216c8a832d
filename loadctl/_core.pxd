"""The contract of the core for other Cython modules. The structs of the plant block are in
`loadctl.law.layout`.
"""

from loadctl.law.tables cimport law_t

cdef class Core:
    cdef law_t law
    cdef readonly Py_ssize_t plant_bytes
    cdef void *_arena
    cdef object _tables
    cdef object _plant      # keeps the attached block alive

    cdef int _attached(self) except -1
    cdef int _check_block(self) except -1
    cdef int _check_charger(self, Py_ssize_t charger_i) except -1
