import hashlib
import platform
import subprocess
import sys

import pytest
import torch

from mnist_cli.errors import UsageError
from mnist_cli.runtime.device import pick_device, set_threads, threads_for
from mnist_cli.runtime.seeding import stream, stream_seed


def test_a_stream_is_found_by_its_address() -> None:
    first = torch.rand(5, generator=stream(3, "order", 2))
    assert torch.equal(first, torch.rand(5, generator=stream(3, "order", 2)))


def test_neighbouring_addresses_are_different_streams() -> None:
    addresses = [(s, name, e) for s in range(5) for name in ("order", "noise") for e in range(20)]
    assert len({stream_seed(*address) for address in addresses}) == len(addresses)


def test_the_address_is_fixed_for_good() -> None:
    """Another hash would silently change what every seed trains."""
    digest = hashlib.sha256(b"7/order/3").digest()
    assert stream_seed(7, "order", 3) == int.from_bytes(digest[:8], "little") >> 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_an_error_that_names_the_way_out() -> None:
    with pytest.raises(UsageError, match="finds no cuda device here; use --device cpu or auto"):
        pick_device("cuda")


def test_threads_are_set_when_asked_for() -> None:
    set_threads(2)
    assert torch.get_num_threads() == 2
    set_threads(None)
    assert torch.get_num_threads() == 2
    assert threads_for(torch.device("cpu")) == 2
    assert threads_for(torch.device("cuda")) == 1  # which shares out its work itself


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_glibc_takes_every_setting_of_its_memory() -> None:
    code = "from mnist_cli.runtime.device import keep_freed_memory; print(keep_freed_memory())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
