"""rosbags' readers, for bags as recorders, merge tools and people leave them.

What rosbags stops at although the messages are whole is mended on the way: an MCAP file without profile, without
message indices or without channels in its summary; a metadata.yaml that names no storage, or a file that has another
name now; files and messages that are compressed with zstd, whatever metadata.yaml says of it.
"""

from __future__ import annotations

import io
import re
import shutil
import struct
import sys
from collections.abc import Collection, Generator
from contextlib import ExitStack
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from rosbags.interfaces import Connection
from rosbags.rosbag1 import Reader as Ros1Reader
from rosbags.rosbag2 import Reader as _Rosbag2Reader
from rosbags.rosbag2.reader import DirectoryReader as _DirectoryReader
from rosbags.rosbag2.storage_mcap import McapReader as _McapReader
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader

from drive_seg.errors import DriveSegError
from drive_seg.yaml_file import YamlError, read_yaml

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd  # rosbags brings it

STORAGES = {".mcap": "mcap", ".db3": "sqlite3"}
"""rosbag2's name of each kind of storage file."""

ZIPPED = (".zstd", ".zst")
"""What the name of a storage file ends in besides, when all of it is compressed."""

SQLITE_RECOVER = "the file is cut short or damaged; `sqlite3 FILE .recover` saves what is whole"
"""How to fix a .db3."""

_METADATA = "metadata.yaml"
_LONGEST_METADATA = 16 << 20  # bytes
_ZSTD = b"\x28\xb5\x2f\xfd"  # a zstd frame begins so, and no message in CDR does
_LONGEST_MESSAGE = 1 << 30  # bytes, decompressed
_HEADER, _FOOTER = 17, 37  # bytes before an MCAP's profile; from the footer to the end


class StorageError(DriveSegError, ValueError):
    """A bag that can't be read as it lies there; the reason completes `BAG ...`."""


def is_storage(path: Path) -> bool:
    """Whether a file's name is that of a bag: rosbag2's .mcap and .db3, also compressed, and ROS 1's .bag."""
    return path.suffix == ".bag" or _kind(path) in STORAGES


def storage_files(folder: Path) -> list[Path]:
    """The bag files of a folder in natural order (drive_2 before drive_10)."""
    return sorted((p for p in folder.iterdir() if is_storage(p) and not p.name.startswith(".")), key=_natural)


def split_files(folder: Path) -> list[Path]:
    """The files that make up the rosbag2 in a folder, as its metadata.yaml has them; [] where it can't be read."""
    info = _info(_read_document(folder)) if (folder / _METADATA).is_file() else None
    return [folder / name for name in _names(info)] if info else []


def open_reader(path: Path, stack: ExitStack) -> Ros1Reader | Rosbag2Reader:
    """An open reader for a bag: a rosbag2 folder, or one of the files that is_storage knows.

    stack: gets what must be closed in the end. Raises StorageError, and what the library raises on damaged files.
    """
    target = path
    if path.is_dir():
        target = _mended(path, stack) if (path / _METADATA).is_file() else _only_file(path)
    if target.suffix in ZIPPED:
        target = _unzipped(target, stack)
    reader = Ros1Reader(target) if target.suffix == ".bag" else Rosbag2Reader(target)
    reader.open()
    stack.callback(reader.close)
    return reader


def plain(data: bytes) -> bytes:
    """The bytes of a message, decompressed where the recorder compressed them. Raises StorageError."""
    if data[:4] != _ZSTD:
        return data
    try:
        unzip = zstd.ZstdDecompressor()
        message = unzip.decompress(data, _LONGEST_MESSAGE)
    except (zstd.ZstdError, MemoryError) as error:
        raise StorageError("a message that zstd can't decompress") from error
    if not unzip.eof:
        raise StorageError("a compressed message that is cut short, or larger than 1 GiB")
    return message


class Rosbag2Reader(_Rosbag2Reader):
    """rosbags' reader of rosbag2 folders and files. Messages come as they are stored: see `plain`."""


class _McapFile(_McapReader):
    """Reads by scanning what has no complete index."""

    path: Any  # a Path, or while it is opened a _PatchedFile, of which rosbags calls `open`

    def open(self) -> None:
        file = Path(self.path)
        patches = _as_ros2(file)
        try:
            self._open_patched(file, patches)
            if not self._is_complete():
                self.close()
                self._open_patched(file, patches | _without_summary(file))
        except KeyError as error:  # of the encodings of schemas that the library knows
            raise StorageError(f"has messages that are described in {error.args[0]!r}, which is not ROS 2's",
                               "use a bag that ROS 2 recorded") from error

    def _open_patched(self, file: Path, patches: dict[int, bytes]) -> None:
        self.path = _PatchedFile(file, patches) if patches else file
        try:
            super().open()
        finally:
            self.path = file

    def _is_complete(self) -> bool:
        """Whether the index leads to all messages that the statistics count."""
        count = self.statistics.message_count if self.statistics else 0
        known = {connection.id for connection in self.connections}
        counted = self.statistics.channel_message_counts if self.statistics else {}
        if count and (not known or any(number and channel not in known for channel, number in counted.items())):
            return False
        return not self.chunks or sum(sum(chunk.channel_count.values()) for chunk in self.chunks) >= count


class _SqliteFile(Sqlite3Reader):
    """Refuses a database that is shorter than its header says: SQLite does not always notice."""

    def open(self) -> None:
        with self.path.open("rb") as opened:
            header = opened.read(100)
        if len(header) == 100 and header[24:28] == header[92:96]:  # else the number of pages is not valid
            page, pages = struct.unpack_from(">H", header, 16)[0], struct.unpack_from(">I", header, 28)[0]
            whole, size = (65536 if page == 1 else page) * pages, self.path.stat().st_size
            if size < whole:
                raise StorageError(f"can't be read: the database has {size} of {whole} bytes", SQLITE_RECOVER)
        super().open()


class _Folder(_DirectoryReader):
    """Matches topics by name and type: metadata.yaml and the files may differ in what they say of QoS and hashes."""

    STORAGE_PLUGINS = {"mcap": _McapFile, "sqlite3": _SqliteFile}

    def messages(self, connections: Collection[Connection], start: int | None = None, stop: int | None = None,
                 ) -> Generator[tuple[Connection, int, bytes], None, None]:
        wanted = {(c.topic, c.msgtype): c for c in connections}
        for storage in self.storages:
            own = [c for c in storage.connections if (c.topic, c.msgtype) in wanted]
            for connection, when, data in storage.messages(own, start, stop) if own else ():
                yield wanted[connection.topic, connection.msgtype], when, data


Rosbag2Reader.STORAGE_PLUGINS = {"dir": _Folder, ".mcap": _McapFile, ".db3": _SqliteFile}


class _PatchedFile:
    """A file of which some bytes read as others: {offset: bytes}."""

    def __init__(self, path: Path, patches: dict[int, bytes]) -> None:
        self._path, self._patches = path, patches

    def __str__(self) -> str:
        return str(self._path)

    def open(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_PatchedBytes(self._path, self._patches))


class _PatchedBytes(io.RawIOBase):  # a FileIO's read and readall would pass readinto by
    def __init__(self, path: Path, patches: dict[int, bytes]) -> None:
        super().__init__()
        self._file, self._patches = path.open("rb", buffering=0), patches

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        at = self._file.tell()
        count = self._file.readinto(buffer)
        view = memoryview(buffer).cast("B")
        for offset, patch in self._patches.items():
            first, last = max(offset, at), min(offset + len(patch), at + count)
            if first < last:
                view[first - at : last - at] = patch[first - offset : last - offset]
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _as_ros2(file: Path) -> dict[int, bytes]:
    """The patch that gives an MCAP file ROS 2's profile, which tools that merge leave out. Raises StorageError."""
    with file.open("rb") as opened:
        start = opened.read(4096)
    if len(start) < _HEADER + 8 or start[:9] != b"\x89MCAP0\r\n\x01":
        return {}
    size, length = struct.unpack_from("<QI", start, 9)
    profile = start[_HEADER + 4 : _HEADER + 4 + length].decode(errors="replace")
    if profile == "ros1":
        raise StorageError("has messages of ROS 1 in an MCAP file", "use the .bag that it was made from")
    if profile == "ros2" or size < 8:
        return {}
    return {_HEADER: struct.pack("<I", 4) + b"ros2"}  # the library reads nothing behind it


def _without_summary(file: Path) -> dict[int, bytes]:
    """The patch of an MCAP file's footer that says that there is no summary, so that all of the file is scanned."""
    return {file.stat().st_size - _FOOTER + 9: bytes(8)}


def _only_file(folder: Path) -> Path:
    files = storage_files(folder)
    if len(files) == 1:
        return files[0]
    if not files:
        raise StorageError(f"has no {_METADATA} and no .mcap, .db3 or .bag file", "it is not a bag")
    raise StorageError(f"has no {_METADATA} and {len(files)} bag files", "name one, or run `ros2 bag reindex`")


def _mended(folder: Path, stack: ExitStack) -> Path:
    """The folder itself, or what reads as it should be: links to its files beside a corrected metadata.yaml."""
    document = _read_document(folder)
    info = _info(document)
    files = {path.name: path for path in storage_files(folder)}
    if info is None:
        if len(files) == 1:  # a recorder that was killed leaves an empty one
            return next(iter(files.values()))
        raise StorageError(f"has a {_METADATA} that can't be read",
                           "run `ros2 bag reindex`, or name one of its files")
    listed = _names(info)
    names = _found(listed, files) if listed else list(files)
    if not names:
        raise StorageError(f"has a {_METADATA} that names no file, and none is there")
    zipped = names[0].endswith(ZIPPED)
    storage = STORAGES.get(_kind(Path(names[0])), info.get("storage_identifier"))
    topics = [t.get("topic_metadata") for t in info.get("topics_with_message_count") or () if isinstance(t, dict)]
    unnamed = [t for t in topics if isinstance(t, dict) and not t.get("serialization_format")]
    by_file = str(info.get("compression_mode") or "").lower() == "file"
    if names == listed and storage == info.get("storage_identifier") and zipped == by_file and not unnamed:
        return folder
    info["relative_file_paths"], info["storage_identifier"] = names, storage
    if zipped or by_file:
        info["compression_mode"], info["compression_format"] = ("FILE", "zstd") if zipped else ("", "")
    for topic in unnamed:
        topic["serialization_format"] = "cdr"
    mended = Path(stack.enter_context(TemporaryDirectory(prefix="drive_seg_bag_")))
    for name in names:
        (mended / name).symlink_to((folder / name).absolute())
    (mended / _METADATA).write_text(yaml.safe_dump(document))
    return mended


def _found(listed: list[str], files: dict[str, Path]) -> list[str]:
    """The names under which the listed files are there. Raises StorageError where that is not clear."""
    found = {name: _as_it_is(name, files) for name in listed}
    missing = [name for name, there in found.items() if there is None]
    others = [name for name in files if name not in found.values()]
    if not missing:
        return [there for there in found.values() if there is not None]
    if len(missing) == 1 and len(others) == 1 and _kind(Path(missing[0])) == _kind(Path(others[0])):
        return [there or others[0] for there in found.values()]
    there = f"there is {', '.join(others)}" if others else "nothing else is there"
    raise StorageError(f"misses {', '.join(missing)}, which its {_METADATA} names; {there}",
                       "bring the missing file back, name one of the files, or run `ros2 bag reindex`")


def _as_it_is(name: str, files: dict[str, Path]) -> str | None:
    bare = name.removesuffix(PurePath(name).suffix) if name.endswith(ZIPPED) else name
    return next((n for n in (name, bare, *(bare + suffix for suffix in ZIPPED)) if n in files), None)


def _read_document(folder: Path) -> Any:
    file = folder / _METADATA
    try:
        return read_yaml(file, _LONGEST_METADATA)
    except YamlError:
        return None


def _info(document: Any) -> dict | None:
    info = document.get("rosbag2_bagfile_information") if isinstance(document, dict) else None
    return info if isinstance(info, dict) else None


def _names(info: dict) -> list[str]:
    listed = info.get("relative_file_paths")
    return [PurePath(str(name)).name for name in listed] if isinstance(listed, list) else []


def _unzipped(file: Path, stack: ExitStack) -> Path:
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="drive_seg_bag_")))
    target = folder / file.stem
    try:
        with file.open("rb") as packed, zstd.open(packed, "rb") as source, target.open("wb") as unpacked:
            shutil.copyfileobj(source, unpacked, 1 << 20)
    except (zstd.ZstdError, EOFError) as error:
        raise StorageError(f"can't be decompressed ({error})", "copy it again") from error
    except OSError as error:
        raise StorageError(f"can't be decompressed into {folder} ({error.strerror})",
                           "run `unzstd` on it where there is room") from error
    return target


def _kind(path: Path) -> str:
    return Path(path.stem).suffix if path.suffix in ZIPPED else path.suffix


def _natural(path: Path) -> list:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]
