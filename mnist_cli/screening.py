"""What the file of a checkpoint may hold, checked before PyTorch reads it.

A file of `torch.save` is a ZIP archive: a pickle, which is a program, and the bytes of the tensors.
`torch.load(weights_only=True)` lets such a program call only a list of harmless functions. But
among them is `bytearray`, with which 300 bytes ask for gigabytes, and nested values can take
exponential time to look at. So the archive is looked at first, and its pickle followed without
running it; both are refused unless they are like what `save_checkpoint` writes.
"""

import io
import re
import zipfile
import zlib

from mnist_cli.plain_pickle import UnsafeError, follow

__all__ = ["UnsafeError", "screen"]

_MAX_MEMBERS = 256
_MEMBER = re.compile(
    r"data\.pkl|version|byteorder|\.format_version|\.storage_alignment|"
    r"\.data/serialization_id|data/\d{1,9}",
    re.ASCII,
)


def screen(data: bytes) -> None:
    """Raise ValueError unless a file holds only tensors and plain values, and all of them whole.

    Raises:
        UnsafeError: its pickle does something else.
        ValueError: it is damaged, or not a file of `torch.save`.

    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = _members(archive, data)
            bad = archive.testzip()  # PyTorch skips the checksums
            if bad is not None:
                raise ValueError(f"the checksum of its member {bad[:80]!r} is wrong")
            sizes = {name: member.file_size for name, member in members.items()}
            program = archive.read(members["data.pkl"])
    except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError, zlib.error) as error:
        raise ValueError(str(error)) from error
    follow(program, sizes)


def _members(archive: zipfile.ZipFile, data: bytes) -> dict[str, zipfile.ZipInfo]:
    """Return the members of an archive without the folder that they are all in.

    No other reader may see other members in it: nothing is before, after or twice.
    """
    infos = archive.infolist()
    if not infos or len(infos) > _MAX_MEMBERS:
        raise ValueError(f"it has {len(infos)} members")
    if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in infos):
        raise ValueError("its members are compressed or encrypted")
    if min(info.header_offset for info in infos) or data[-22:-18] != b"PK\5\6":
        raise ValueError("there is something before or after its members")
    if sum(info.file_size for info in infos) > len(data):
        raise ValueError("its members overlap")
    folder = infos[0].filename.partition("/")[0] + "/"
    members = {info.filename.removeprefix(folder): info for info in infos}
    if len(members) < len(infos) or "data.pkl" not in members:
        raise ValueError("a member is missing or there twice")
    for name, info in members.items():
        if not _MEMBER.fullmatch(name) or info.filename != folder + name:
            raise ValueError(f"it has a member {info.filename[:80]!r}")
    return members
