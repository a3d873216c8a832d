from loadctl.law.tables cimport law_t

cdef void fill_indexes(law_t *law) noexcept nogil
cdef void index_members(law_t *law) noexcept nogil
