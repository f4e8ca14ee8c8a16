"""What the file of a checkpoint may hold, checked before PyTorch reads it.

A file of `torch.save` is a ZIP archive: a pickle, which is a program, and the bytes of the tensors.
`torch.load(weights_only=True)` lets such a program call only a list of harmless functions. But
among them is `bytearray`, with which 300 bytes ask for gigabytes, and nested values can take
exponential time to look at. So the pickle is followed first without running it, and refused unless
it is like what `save_checkpoint` writes.

PyTorch then gets an archive that is packed anew from what was looked at: two readers of ZIP files
can be made to see different members in the same bytes.
"""

import io
import re
import zipfile
import zlib

from mnist_cli.plain_pickle import ForeignError, UnsafeError, follow

__all__ = ["ForeignError", "UnsafeError", "screen"]

_MAX_MEMBERS = 256
_ENTRY = b"PK\1\2"  # begins each entry of an archive's directory
_MEMBER = re.compile(
    r"data\.pkl|version|byteorder|\.format_version|\.storage_alignment|"
    r"\.data/serialization_id|data/\d{1,9}",
    re.ASCII,
)


def screen(data: bytes) -> bytes:
    """Return a file of `torch.save` packed anew, if it holds only tensors and plain values.

    Raises:
        UnsafeError: its pickle would call something.
        ForeignError: it is not like a checkpoint.
        ValueError: it is damaged.

    """
    try:
        members = _members(data)
    except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError, zlib.error) as error:
        raise ValueError("its archive is not whole") from error
    follow(members["data.pkl"], {name: len(contents) for name, contents in members.items()})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, contents in members.items():
            archive.writestr(zipfile.ZipInfo(f"checkpoint/{name}"), contents)
    return buffer.getvalue()


def _members(data: bytes) -> dict[str, bytes]:
    """Return the members of an archive, without the name of the folder that they are all in."""
    if data.count(_ENTRY) > _MAX_MEMBERS:
        raise ForeignError(f"it has more than {_MAX_MEMBERS} members")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = archive.infolist()
        if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in infos):
            raise ForeignError("its members are compressed or encrypted")
        if sum(info.file_size for info in infos) > len(data):
            raise ForeignError("its members overlap")
        names = [info.filename.partition("/")[2] for info in infos]
        if len(set(names)) < len(names) or "data.pkl" not in names:
            raise ForeignError("a member is missing or there twice")
        if unknown := [name for name in names if not _MEMBER.fullmatch(name)]:
            raise ForeignError(f"it has a member {ascii(unknown[0])[:80]}")
        return {name: archive.read(info) for name, info in zip(names, infos, strict=True)}
