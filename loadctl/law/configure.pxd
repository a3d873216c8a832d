from loadctl.law.tables cimport law_t

cdef void *configure(law_t *law, object tables) except NULL
cdef void begin_block(law_t *law, object tables) except *
cdef void fill_tuning(law_t *law, object tuning) except *
