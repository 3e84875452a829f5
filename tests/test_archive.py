"""Zip archives with one entry: what is packed comes back, and what lies is refused before it fills the memory."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile

import pytest

from qrun.archive import archive, entry
from qrun.errors import Unexpected


def packed(*entries: tuple[str, bytes], how: int = zipfile.ZIP_DEFLATED, comment: bytes = b"") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as writer:
        writer.comment = comment
        for name, content in entries:
            writer.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize("content", [b"", b"{}", b'{"program": ["OPENQASM 3;"]}' * 1000, bytes(range(256)) * 999])
def test_what_is_packed_comes_back(content: bytes) -> None:
    assert entry(archive("input.json", content)) == content


def test_the_same_content_gives_the_same_bytes_and_other_tools_read_them() -> None:
    data = archive("input.json", b"{}")

    assert data == archive("input.json", b"{}")
    with zipfile.ZipFile(io.BytesIO(data)) as read:
        assert [(info.filename, info.compress_type) for info in read.infolist()] == [("input.json", 8)]
        assert read.testzip() is None


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\\b", "result.json", "sélection", "x" * 60_000])
def test_the_name_of_the_entry_is_nobodys_path(name: str) -> None:
    assert entry(packed((name, b"content"))) == b"content"


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_comment_and_either_usual_packing_are_fine(how: int) -> None:
    assert entry(packed(("a", b"content"), how=how, comment=b"made by a service")) == b"content"


@pytest.mark.parametrize("how", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_packing_whose_reader_knows_no_limit_is_refused(how: int) -> None:
    with pytest.raises(Unexpected, match="another way than DEFLATE"):
        entry(packed(("a", b"content"), how=how))


@pytest.mark.parametrize("entries", [(), (("a", b"1"), ("b", b"2")), (("folder/", b""),)])
def test_anything_but_one_file_is_refused(entries: tuple[tuple[str, bytes], ...]) -> None:
    with pytest.raises(Unexpected, match=r"entries|one file"):
        entry(packed(*entries))


def test_content_beyond_the_limit_is_refused() -> None:
    with pytest.raises(Unexpected, match="more than 10 bytes"):
        entry(packed(("a", b"eleven byte")), limit=10)


def test_a_bomb_is_refused_without_being_unpacked() -> None:
    bomb = packed(("a", bytes(300_000_000)))
    tracemalloc.start()

    with pytest.raises(Unexpected, match="hold more than"):
        entry(bomb)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 * len(bomb) * 2.5


def test_a_table_of_contents_that_says_one_and_holds_many_is_refused() -> None:
    data = bytearray(packed(*((f"{number:06}" * 20, b"") for number in range(2_000))))
    at = data.rfind(b"PK\x05\x06")
    struct.pack_into("<HH", data, at + 8, 1, 1)

    with pytest.raises(Unexpected, match="one is due"):
        entry(bytes(data))


def test_an_encrypted_archive_is_refused() -> None:
    data = bytearray(packed(("a", b"content")))
    data[6] |= 1
    data[data.find(b"PK\x01\x02") + 8] |= 1

    with pytest.raises(Unexpected, match="encrypted"):
        entry(bytes(data))


def test_a_flipped_byte_never_gives_other_content() -> None:
    content = b'{"counts": {"00": 503, "11": 497}}' * 20
    whole = packed(("result.json", content))

    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        try:
            assert entry(bytes(damaged)) == content
        except Unexpected as refused:
            assert "a zip archive cannot be read" in str(refused)


def test_a_cut_archive_is_refused() -> None:
    whole = packed(("result.json", b"content" * 100))

    for length in range(len(whole)):
        with pytest.raises(Unexpected, match="cannot be read"):
            entry(whole[:length])


@pytest.mark.parametrize("data", [b"<html>503</html>", b"PK", b"PK\x05\x06" + bytes(18), b"{}" * 40_000])
def test_what_is_no_archive_is_refused(data: bytes) -> None:
    with pytest.raises(Unexpected, match="a zip archive cannot be read"):
        entry(data)
