from loadctl.law.tables cimport law_t

cdef void begin_live(law_t *law, object tables) except *
cdef void check_all_live(law_t *law, object tables) except *
cdef void retune(law_t *law, object tables, changes) except *
