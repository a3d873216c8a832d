/* Preloaded before the C library: counts every call that asks for memory. For glibc. */

#include <stddef.h>

extern void *__libc_malloc(size_t n_bytes);
extern void *__libc_calloc(size_t n, size_t n_bytes);
extern void *__libc_realloc(void *block, size_t n_bytes);
extern void *__libc_memalign(size_t alignment, size_t n_bytes);

long n_allocations;

void *malloc(size_t n_bytes)
{
    n_allocations++;
    return __libc_malloc(n_bytes);
}

void *calloc(size_t n, size_t n_bytes)
{
    n_allocations++;
    return __libc_calloc(n, n_bytes);
}

void *realloc(void *block, size_t n_bytes)
{
    n_allocations++;
    return __libc_realloc(block, n_bytes);
}

void *memalign(size_t alignment, size_t n_bytes)
{
    n_allocations++;
    return __libc_memalign(alignment, n_bytes);
}

void *aligned_alloc(size_t alignment, size_t n_bytes)
{
    n_allocations++;
    return __libc_memalign(alignment, n_bytes);
}

int posix_memalign(void **block, size_t alignment, size_t n_bytes)
{
    n_allocations++;
    *block = __libc_memalign(alignment, n_bytes);
    return *block == NULL ? 12 : 0;
}
