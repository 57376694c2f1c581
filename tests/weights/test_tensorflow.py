import os
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import (
    block,
    entry,
    field,
    header,
    mask,
    slow_crc32c,
    some_tensors,
    table,
    varint,
    write_bundle,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from darkroom.errors import CheckpointError
from darkroom.weights import leveldb
from darkroom.weights.checkpoint import read_checkpoint
from darkroom.weights.tensorflow import is_bundle, read_bundle


def same(found: dict[str, NDArray[Any]], wanted: dict[str, NDArray[Any]]) -> bool:
    return found.keys() == wanted.keys() and all(
        found[name].dtype == wanted[name].dtype and np.array_equal(found[name], wanted[name])
        for name in wanted
    )


# The first three: RFC 3720, appendix B.4, and the check value of CRC catalogues.
@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (b"", 0),
    ],
)
def test_crc32c_of_the_standards_examples(data: bytes, wanted: int) -> None:
    assert slow_crc32c(data) == wanted
    assert leveldb.masked_crc32c(data) == mask(wanted)


@settings(deadline=None, max_examples=25)
@given(st.binary(max_size=1500), st.integers(0, 1500))
def test_crc32c_knows_every_bit(data: bytes, at: int) -> None:
    check = leveldb.masked_crc32c(data)
    assert check == mask(slow_crc32c(data))
    if data:
        flipped = bytearray(data)
        flipped[at % len(data)] ^= 1 << at % 8
        assert leveldb.masked_crc32c(bytes(flipped)) != check


@pytest.mark.parametrize("shards", [1, 3])
def test_reads_what_was_written(tmp_path: Path, shards: int) -> None:
    wanted = some_tensors()
    index = write_bundle(tmp_path / "model.ckpt", wanted, shards)
    assert same(read_bundle(index), wanted)


def test_index_shard_and_prefix_all_name_the_bundle(tmp_path: Path) -> None:
    wanted = some_tensors()
    index = write_bundle(tmp_path / "model.ckpt", wanted)
    for path in (index, tmp_path / "model.ckpt", tmp_path / "model.ckpt.data-00000-of-00001"):
        assert is_bundle(path)
        assert same(read_bundle(path), wanted)
    assert not is_bundle(tmp_path / "other.ckpt")
    assert not is_bundle(Path())
    (tmp_path / "model.ckpt").write_bytes(b"a torch file of the same name")
    assert not is_bundle(tmp_path / "model.ckpt")


def test_many_blocks_and_long_shared_prefixes(tmp_path: Path) -> None:
    wanted = {f"{'scope/' * 30}{i:03d}": np.float32([i]) for i in range(200)}
    assert same(read_bundle(write_bundle(tmp_path / "m", wanted)), wanted)


def test_tensors_are_writable_and_their_own(tmp_path: Path) -> None:
    index = write_bundle(tmp_path / "m", some_tensors())
    tensor = read_bundle(index)["g_conv1_1/w"]
    tensor += 1
    assert not np.array_equal(tensor, read_bundle(index)["g_conv1_1/w"])


def test_bfloat16_becomes_float32(tmp_path: Path) -> None:
    data = struct.pack("<3H", 0x3F80, 0xC000, 0x3E20)
    check = mask(slow_crc32c(data))
    (tmp_path / "m.data-00000-of-00001").write_bytes(data)
    items = [(b"", header()), (b"x", entry(14, (3,), 0, 0, 6, check))]
    (tmp_path / "m.index").write_bytes(table(items))
    assert read_bundle(tmp_path / "m")["x"].tolist() == [1.0, -2.0, 0.15625]


def test_strings_are_left_out(tmp_path: Path) -> None:
    index = write_bundle(tmp_path / "m", {"x": np.float32([1, 2])})
    items = [
        (b"", header()),
        (b"_CHECKPOINTABLE_OBJECT_GRAPH", entry(7, (), 0, 8, 11, 0)),
        (b"x", entry(1, (2,), 0, 0, 8, mask(slow_crc32c(struct.pack("<2f", 1, 2))))),
    ]
    index.write_bytes(table(items))
    assert list(read_bundle(index)) == ["x"]


def test_agrees_with_tensorflow(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    wanted = {k: v for k, v in some_tensors().items() if v.size}
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, value in wanted.items():
            tf.compat.v1.get_variable(name.replace("/", "_"), initializer=value, use_resource=False)
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    found = read_bundle(tmp_path / "model.ckpt")
    assert same(found, {k.replace("/", "_"): v for k, v in wanted.items()})


def test_checkpoint_reader_hands_out_torch_tensors(tmp_path: Path) -> None:
    wanted = some_tensors()
    found = read_checkpoint(write_bundle(tmp_path / "model.ckpt", wanted))
    assert same({name: tensor.numpy() for name, tensor in found.items()}, wanted)


# --- attacks -----------------------------------------------------------------------------------


def refused(path: Path, *words: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_bundle(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name.split(".")[0] in message
    for word in words:
        assert word in message


@cache
def written(folder: Path) -> dict[str, bytes]:
    """The bytes of `some_tensors` as a bundle named m, written once."""
    write_bundle(folder / "m", some_tensors())
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def copied(factory: pytest.TempPathFactory) -> Path:
    """A fresh folder with that bundle."""
    base = factory.getbasetemp() / "bundle"
    base.mkdir(exist_ok=True)
    folder = factory.mktemp("copy")
    for name, content in written(base).items():
        (folder / name).write_bytes(content)
    return folder


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_changed_byte_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = copied(tmp_path_factory)
    wanted = some_tensors()
    path = data.draw(st.sampled_from(sorted(folder.iterdir())))
    content = bytearray(path.read_bytes())
    footer = bytes(content[-48:])
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        assert same(read_bundle(folder / "m"), wanted)
    except CheckpointError:
        return
    # Only the metaindex, which nobody reads, and the footer's padding are not checked.
    assert path.suffix == ".index"
    unused, after = leveldb.varint(footer, 0)
    size, _ = leveldb.varint(footer, after)
    assert at >= len(content) - 48 or unused <= at < unused + size + 5


@settings(deadline=None, max_examples=25)
@given(share=st.floats(0, 0.999), which=st.sampled_from([".index", ".data-00000-of-00001"]))
def test_cut_off_files_are_refused(
    tmp_path_factory: pytest.TempPathFactory, share: float, which: str
) -> None:
    folder = copied(tmp_path_factory)
    path = folder / f"m{which}"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(folder / "m.index")


def test_missing_files_say_what_to_do(tmp_path: Path) -> None:
    index = write_bundle(tmp_path / "m.ckpt", some_tensors())
    (tmp_path / "m.ckpt.data-00000-of-00001").unlink()
    refused(index, "m.ckpt.data-00000-of-00001 is missing", "put it beside")
    index.unlink()
    refused(index, "both its .index and its .data")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs POSIX permissions, no root")
def test_unreadable_file(tmp_path: Path) -> None:
    index = write_bundle(tmp_path / "m", some_tensors())
    index.chmod(0)
    refused(index, "cannot be read")


HUGE = 1 << 62
GOOD = mask(slow_crc32c(bytes(8)))

HOSTILE: dict[str, list[tuple[bytes, bytes]]] = {
    "no header": [(b"x", entry(1, (2,), 0, 0, 8, GOOD))],
    "announces 0 shards": [(b"", field(2, 0))],
    "announces 1000000 shards": [(b"", header(1_000_000))],
    "big-endian": [(b"", header() + field(2, 1))],
    "newer format": [(b"", field(1, 1) + field(3, field(2, 2)))],
    "do not fit its shape": [(b"", header()), (b"x", entry(1, (3,), 0, 0, 8, GOOD))],
    "over another tensor": [
        (b"", header()),
        *((f"x{i}".encode(), entry(1, (2,), 0, 0, 8, GOOD)) for i in range(9)),
    ],
    "outside its shard": [(b"", header()), (b"x", entry(1, (2,), 0, 1, 8, GOOD))],
    "x lies outside": [(b"", header()), (b"x", entry(1, (1 << 36,), 0, 0, 1 << 38, GOOD))],
    "shard 7 of 1": [(b"", header()), (b"x", entry(1, (2,), 7, 0, 8, GOOD))],
    "has the shape": [(b"", header()), (b"x", entry(1, (0, 1 << 50), 0, 0, 0, 0))],
    "has the shape (1, 1": [(b"", header()), (b"x", entry(1, (1,) * 99, 0, 0, 4, GOOD))],
    "negative": [(b"", header()), (b"x", entry(1, (2,), 0, (1 << 64) - 8, 8, GOOD))],
    "unknown type 20": [(b"", header()), (b"x", entry(20, (8,), 0, 0, 8, GOOD))],
    "wrong checksum": [(b"", header()), (b"x", entry(1, (2,), 0, 0, 8, GOOD ^ 1))],
    "in slices": [(b"", header()), (b"x", entry(1, (2,), 0, 0, 8, GOOD) + field(7, b""))],
    "shape is unknown": [(b"", header()), (b"x", field(1, 1) + field(2, field(3, 1)))],
    "not text": [(b"", header()), (b"\xff\xfe", entry(1, (2,), 0, 0, 8, GOOD))],
    "past its message": [(b"", header()), (b"x", varint(2 << 3 | 2) + varint(HUGE))],
    "past the end": [(b"", header()), (b"x", b"\x08\xff")],
    "longer than 64 bits": [(b"", header()), (b"x", b"\x08" + b"\xff" * 10 + b"\x01")],
    "number was expected": [(b"", header()), (b"x", field(1, b"1"))],
    "message was expected": [(b"", header()), (b"x", field(2, 1))],
    "unknown type": [(b"", header()), (b"x", varint(1 << 3 | 3))],
    "out of order": [(b"", header()), (b"y", b""), (b"x", b"")],
}


@pytest.mark.parametrize("says", HOSTILE)
def test_hostile_index_is_refused(tmp_path: Path, says: str) -> None:
    (tmp_path / "m.data-00000-of-00001").write_bytes(bytes(8))
    (tmp_path / "m.index").write_bytes(table(HOSTILE[says]))
    refused(tmp_path / "m.index", says)


def raw_table(content: bytes, index_items: Callable[[int], list[tuple[bytes, bytes]]]) -> bytes:
    """A table whose single data block and whose index are given."""

    def trailer(part: bytes) -> bytes:
        return b"\0" + struct.pack("<I", mask(slow_crc32c(part + b"\0")))

    index = block(index_items(len(content)), interval=1)
    at = len(content) + 5
    handles = varint(0) + varint(0) + varint(at) + varint(len(index))
    magic = struct.pack("<Q", 0xDB4775248B80FB57)
    footer = handles.ljust(40, b"\0") + magic
    return content + trailer(content) + index + trailer(index) + footer


def test_hostile_blocks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.index"
    good = [(b"", header())]

    def whole(size: int) -> list[tuple[bytes, bytes]]:
        return [(b"z", varint(0) + varint(size))]

    cases = {
        "past its block": raw_table(b"\x05\x01\x00x" + struct.pack("<2I", 0, 1), whole),
        "runs past": raw_table(b"\x00\x01\x7fx" + struct.pack("<2I", 0, 1), whole),
        "restart points": raw_table(struct.pack("<I", 1 << 30), whole),
        "too short": raw_table(b"", whole),
        "outside the table": raw_table(block(good), lambda n: [(b"z", varint(n) + varint(HUGE))]),
        "overlap": raw_table(
            block(good), lambda n: [(bytes([97 + i]), varint(0) + varint(n)) for i in range(9)]
        ),
        "compressed": table(good, kind=1),
        "magic number": b"x" * 100,
        "table is too short": b"x" * 10,
    }
    for says, content in cases.items():
        path.write_bytes(content)
        refused(path, says)


def test_endless_index_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "m.index"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: takes no room
    refused(path, "larger than any")


def test_keys_that_multiply_what_they_share_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few bytes an item, each a key as long as the first: before, a megabyte took any memory."""
    index = tmp_path / "m.index"
    monkeypatch.setattr(leveldb, "MAX_ITEMS", 500)
    items = [(b"", header())] + [(b"x" * 100 + b"%06d" % i, b"") for i in range(500)]
    index.write_bytes(table(items, block_items=501))
    refused(index, "more than 500 items")
    index.write_bytes(table([(b"", header()), *((b"x" * 2000 + b"%d" % i, b"") for i in (1, 2))]))
    refused(index, "a key has 2,002 bytes")


def test_tensors_larger_than_any_checkpoint_are_refused(tmp_path: Path) -> None:
    """A sparse file claims any size at no cost."""
    size = 1 << 36
    with (tmp_path / "m.data-00000-of-00001").open("wb") as shard:
        shard.truncate(size)
    items = [(b"", header()), (b"x", entry(1, (size // 4,), 0, 0, size, 0))]
    (tmp_path / "m.index").write_bytes(table(items))
    refused(tmp_path / "m.index", "more than 2,147,483,648 bytes")
