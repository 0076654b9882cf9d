"""Allocators while a consumer runs, and as they were after it."""

import ctypes
import gc

import pytest

from consumer import allocation
from consumer.allocation import YOUNG, steady


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="no glibc")
def test_the_allocator_takes_what_it_is_told():
    assert allocation._keep_memory()


def test_the_collector_is_left_as_it_was():
    before = gc.get_threshold()

    def ended():
        with steady():
            assert gc.get_threshold() == (YOUNG, *before[1:])
            assert gc.get_freeze_count() > 0
            raise ValueError("it ends")

    with pytest.raises(ValueError, match="it ends"):
        ended()
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
