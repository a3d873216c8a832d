"""See the `.pxd`."""

from libc.string cimport memset


def choose(int32_t n):
    global chosen
    chosen = n


def clear():
    memset(marks, 0, N_MARKS)


def noted():
    return bytes(marks[:N_MARKS])
