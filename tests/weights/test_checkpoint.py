"""Checkpoints in every wrapping, and every hostile or broken file as one clear line."""

import contextlib
import io
import json
import pickle
import struct
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from darkroom.errors import CheckpointError
from darkroom.weights import checkpoint, torch_files
from darkroom.weights.checkpoint import read_checkpoint

STATE = {"a.weight": torch.arange(12.0).reshape(3, 4), "a.bias": torch.ones(3).half()}


def same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor] = STATE) -> bool:
    equal = (torch.equal(found[key], wanted[key]) for key in found)
    return found.keys() == wanted.keys() and all(equal)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state, "epoch": 3, "optimizer": {"lr": 0.1}},
        lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}},
        lambda state: {"params_ema": state, "params": {"x": torch.zeros(1)}},
        lambda state: {f"_orig_mod.module.{k}": v for k, v in state.items()},
        lambda state: {k: torch.nn.Parameter(v) for k, v in state.items()},
    ],
)
def test_torch_files_in_every_wrapping(tmp_path: Path, legacy: bool, wrap: Callable):
    path = tmp_path / "weights"
    torch.save(wrap(STATE), path, _use_new_zipfile_serialization=not legacy)
    found = read_checkpoint(path)
    assert same(found)
    assert not any(tensor.requires_grad for tensor in found.values())


def test_safetensors(tmp_path: Path):
    save_file(STATE, tmp_path / "weights.safetensors")
    assert same(read_checkpoint(tmp_path / "weights.safetensors"))


class Code:
    """An object whose unpickling would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("legacy", [False, True])
def test_pickles_that_run_code_are_refused_and_do_not_run(tmp_path: Path, legacy: bool):
    proof = tmp_path / "proof"
    path = tmp_path / "weights"
    content = {"model": STATE, "extra": Code(proof)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match="could run code; refused"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(Code(proof)))
    with pytest.raises(CheckpointError):
        read_checkpoint(path)
    assert not proof.exists()


def write_safetensors(path: Path, header: object, data: bytes = b"") -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [4], "data_offsets": [0, 400]},
        {"dtype": "F32", "shape": [400], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]},
        {"dtype": "F99", "shape": [4], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]},
        {"dtype": "F32"},
        [1, 2],
    ],
)
def test_safetensors_whose_header_lies(tmp_path: Path, entry: object):
    write_safetensors(tmp_path / "w", {"a": entry}, bytes(16))
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(tmp_path / "w")
    assert "\n" not in str(caught.value)


def test_safetensors_whose_header_is_longer_than_the_file(tmp_path: Path):
    (tmp_path / "w").write_bytes(struct.pack("<Q", 2**60) + b'{"a": 1}')
    with pytest.raises(CheckpointError, match="header of 1152921504606846976 bytes"):
        read_checkpoint(tmp_path / "w")
    (tmp_path / "w").write_bytes(struct.pack("<Q", 8) + b'{"a": !}')
    with pytest.raises(CheckpointError, match="header is no JSON"):
        read_checkpoint(tmp_path / "w")


def test_truncated_at_any_byte(tmp_path: Path):
    save_file(STATE, tmp_path / "safe")
    torch.save(STATE, tmp_path / "zip")
    torch.save(STATE, tmp_path / "old", _use_new_zipfile_serialization=False)
    for name in ("safe", "zip", "old"):
        content = (tmp_path / name).read_bytes()
        for size in range(0, len(content) - 1, max(len(content) // 40, 1)):
            (tmp_path / "cut").write_bytes(content[:size])
            with pytest.raises(CheckpointError) as caught:
                read_checkpoint(tmp_path / "cut")
            assert "\n" not in str(caught.value)


def test_flipped_bytes_never_raise_anything_else(tmp_path: Path):
    generator = torch.Generator().manual_seed(0)
    for legacy in (False, True):
        torch.save(STATE, tmp_path / "good", _use_new_zipfile_serialization=not legacy)
        content = (tmp_path / "good").read_bytes()
        places = torch.randint(len(content), (60,), generator=generator).tolist()
        for place in places:
            broken = bytearray(content)
            broken[place] ^= 0xFF
            (tmp_path / "bad").write_bytes(broken)
            with contextlib.suppress(CheckpointError):
                read_checkpoint(tmp_path / "bad")


def test_an_archive_whose_entries_reach_past_its_end(tmp_path: Path):
    """Found by mutation: sizes that agree with each other, and not with where the entry lies."""
    torch.save(STATE, tmp_path / "good")
    with (
        zipfile.ZipFile(tmp_path / "good") as good,
        zipfile.ZipFile(tmp_path / "w", "w") as archive,
    ):
        for name in sorted(good.namelist(), key=lambda name: "/data/" in name):  # a storage last
            archive.writestr(name, good.read(name))
    content = bytearray((tmp_path / "w").read_bytes())
    with zipfile.ZipFile(tmp_path / "w") as archive:
        last = archive.infolist()[-1]
        room = len(content) - sum(entry.file_size for entry in archive.infolist())
    place = content.rindex(last.filename.encode()) - 46  # its entry in the central directory
    assert content[place : place + 4] == b"PK\x01\x02"
    size = last.file_size + room
    content[place + 20 : place + 28] = struct.pack("<II", size, size)
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged") as caught:
        read_checkpoint(tmp_path / "w")
    assert "\n" not in str(caught.value)


def test_zip_bomb(tmp_path: Path):
    path = tmp_path / "bomb"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    with pytest.raises(CheckpointError, match="compressed archive"):
        read_checkpoint(path)


def test_a_few_bytes_that_pretend_to_be_a_huge_tensor(tmp_path: Path):
    huge = torch.zeros(1).expand(10**6, 10**6)
    torch.save({"a": huge}, tmp_path / "w")
    with pytest.raises(CheckpointError, match="a claims more than is stored"):
        read_checkpoint(tmp_path / "w")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_numbers(tmp_path: Path, value: float):
    save_file({"a.weight": torch.tensor([1.0, value])}, tmp_path / "w")
    with pytest.raises(CheckpointError, match=r"a\.weight holds NaN or infinity"):
        read_checkpoint(tmp_path / "w")


def numpy_archive(save: Callable[..., None]) -> bytes:
    stream = io.BytesIO()
    save(stream, weight=np.zeros(3, np.float32))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n <!DOCTYPE html><html>Too many requests", "is a web page"),
        (b"just some text, long enough", "is no checkpoint"),
        (b"PK\x03\x04 and nothing more", "damaged or cut off"),
        (pickle.dumps([1, 2, 3]), "holds a list, not named tensors"),
        (pickle.dumps({"a": np.zeros(3)}, 0), "or numpy arrays pickled with protocol 2 or later"),
        (numpy_archive(np.savez), "is an archive, but not of torch.save"),
        (numpy_archive(np.savez_compressed), "is an archive, but not of torch.save"),
    ],
)
def test_other_files(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / "w")


def test_things_that_are_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "w"
    for content, message in (
        ([torch.zeros(1)], "holds a list"),
        ({"epoch": 3}, "holds no tensors"),
        ({"a": torch.zeros(3, 3).to_sparse()}, "a is no plain tensor"),
        (
            {"a": torch.zeros(3, dtype=torch.complex64)},
            "a holds complex64, no floating-point weights",
        ),
    ):
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=message):
            read_checkpoint(path)
    with pytest.raises(CheckpointError, match="cannot read"):
        read_checkpoint(tmp_path / "missing")
    with pytest.raises(CheckpointError, match="not a file"):
        read_checkpoint(tmp_path)
    monkeypatch.setattr(checkpoint, "MAX_BYTES", 10)
    with pytest.raises(CheckpointError, match="more than a checkpoint can need"):
        read_checkpoint(path)


def nested(depth: int) -> bytes:
    """A pickle of dictionaries inside each other, all under the name model."""
    head, tail = b"\x80\x02" + b"}X\x05\x00\x00\x00model" * depth, b"}" + b"s" * depth + b"."
    return head + tail


HOSTILE_PICKLES = {
    "20 GiB in 35 bytes": (
        b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x00\x05\x85R.",
        "run code",
    ),
    "a dictionary in itself": (b"\x80\x02}q\x00X\x05\x00\x00\x00modelh\x00s.", "holds no tensors"),
    "5,000 dictionaries deep": (nested(5_000), "holds no tensors"),
    "100,000 tuples deep": (b"\x80\x02)" + b"\x85" * 100_000 + b".", "holds a tuple"),
    "a deep tuple as key": (b"\x80\x02})" + b"\x85" * 100_000 + b"K\x01s.", "holds no tensors"),
    "more operations than tensors need": (b"\x80\x02" + b"N" * 500_001 + b".", "500,000 op"),
    "a memo of 4 billion": (b"\x80\x02}r\xff\xff\xff\xff.", "holds no tensors"),
    "text of 4 GB": (b"\x80\x02X\xff\xff\xff\xffabc.", "damaged"),
    "text of 2^62 bytes": (b"\x80\x04\x8d\0\0\0\0\0\0\0\x40abc.", "damaged"),
    "nothing on the stack": (b"\x80\x02R.", "damaged"),
    "no mark": (b"\x80\x02}u.", "damaged"),
    "a call of a number": (b"\x80\x02K\x01)R.", "a call of what is no function"),
    "a state of a number": (b"\x80\x02K\x01}b.", "a state of what has none"),
    "an object": (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "NEWOBJ is no operation"),
    "one name of 1 MB": (b"\x80\x02c" + b"x" * 10**6 + b"\ny\n.", "run code"),
    "a call with 17 arguments": (
        b"\x80\x02ccollections\nOrderedDict\n(" + b"N" * 17 + b"tR.",
        "more than tensors need",
    ),
    "pairs copied again and again": (
        b"\x80\x02](" + b"X\x01\x00\x00\x00xN\x86" * 9_000 + b"e\x85q\x00"
        b"ccollections\nOrderedDict\nq\x01h\x00R" + b"h\x01h\x00R" * 60 + b".",
        "500,000 op",
    ),
    "a name that begins as a harmless one": (
        b"\x80\x02ccollections\nOrderedDict.update\n.",
        "run code",
    ),
    "items of no list": (b"\x80\x02}K\x01a.", "no list"),
    "a storage of another file": (b"\x80\x02X\x01\x00\x00\x00xQ.", "no storage"),
}


@pytest.mark.parametrize(("content", "message"), HOSTILE_PICKLES.values(), ids=HOSTILE_PICKLES)
@pytest.mark.parametrize("zipped", [False, True])
def test_hostile_pickles_are_one_line(tmp_path: Path, content: bytes, message: str, zipped: bool):
    path = tmp_path / "w"
    path.write_bytes(content)
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("w/data.pkl", content)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_checkpoint(path)
    assert len(str(caught.value)) < 400 + len(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process are POSIX")
def test_hostile_pickles_take_no_memory(tmp_path: Path):
    """Each in turn within 500 MB beyond what the process had: before, one took all there was."""
    import resource

    for i, (content, _) in enumerate(HOSTILE_PICKLES.values()):
        (tmp_path / f"w{i}").write_bytes(content)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 500 * 2**20, limits[1]))
    try:
        for path in sorted(tmp_path.iterdir()):
            with pytest.raises(CheckpointError) as caught:
                read_checkpoint(path)
            assert not isinstance(caught.value.__cause__, MemoryError)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.mark.filterwarnings("ignore")  # of torch, about prototypes
@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(3, device="meta"),
        lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
        lambda: torch.eye(3).to_sparse_csr(),
        lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        lambda: torch.ones(3, dtype=torch.complex64).conj(),
        lambda: torch.ones(3, dtype=torch.complex64).conj().imag,
        lambda: torch.ones(3).to(torch.float8_e4m3fn),
    ],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_of_other_kinds(tmp_path: Path, make: Callable, legacy: bool):
    with contextlib.suppress(NotImplementedError, AttributeError):  # of some in the older format
        torch.save({"a": make()}, tmp_path / "w", _use_new_zipfile_serialization=not legacy)
        with pytest.raises(CheckpointError, match=r"a is no plain tensor|kind that is not read"):
            read_checkpoint(tmp_path / "w")


@pytest.mark.parametrize("kind", ["int8", "uint8", "bool", "int64", "complex64"])
@pytest.mark.parametrize("write", [torch.save, lambda state, path: save_file(state, path)])
def test_weights_that_are_no_floating_point_numbers(tmp_path: Path, kind: str, write: Callable):
    write({"a.weight": torch.ones(3, 3).to(getattr(torch, kind))}, tmp_path / "w")
    with pytest.raises(
        CheckpointError, match=rf"a\.weight holds {kind}, no floating-point weights"
    ):
        read_checkpoint(tmp_path / "w")


@pytest.mark.parametrize("legacy", [False, True])
def test_every_view_of_a_storage_is_read_as_torch_does(tmp_path: Path, legacy: bool):
    base = torch.arange(48.0).reshape(6, 8)
    state = {
        "transposed": base.t(),
        "part": base[1:4, 2:7:2],
        "channels last": torch.arange(96.0)
        .reshape(2, 3, 4, 4)
        .to(memory_format=torch.channels_last),
        "empty": torch.zeros(0, 4),
        "number": torch.tensor(1.5),
        "counter": torch.tensor(3),
        "double": base.double(),
        "half": base.half(),
    }
    torch.save(
        state | {"bfloat16": base.bfloat16()},
        tmp_path / "w",
        _use_new_zipfile_serialization=not legacy,
    )
    found = read_checkpoint(tmp_path / "w")
    assert same(found, state | {"bfloat16": base})  # whole numbers below 256: exact in bfloat16
    assert found["half"].dtype is torch.float16
    assert all(tensor.is_contiguous() for tensor in found.values())


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickled_dictionaries_of_numpy_arrays(tmp_path: Path, protocol: int):
    """As cydonia999's port of SID keeps converted weights; other numbers are left out."""
    arrays = {
        "conv1_1.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.arange(4, dtype=">f4"),
        "half": np.ones(3, dtype=np.float16),
        "empty": np.ones((0, 3), dtype=np.float32),
    }
    content = {**arrays, "psnr": np.float64(28.9), "epoch": 4000}
    (tmp_path / "w").write_bytes(pickle.dumps({"state_dict": content}, protocol))
    found = read_checkpoint(tmp_path / "w")
    assert same(
        found, {k: torch.from_numpy(v.astype(v.dtype.newbyteorder("="))) for k, v in arrays.items()}
    )


@pytest.mark.parametrize(
    "value",
    [
        np.array([{}, 1], dtype=object),
        np.zeros(2, "U3"),
        np.zeros(2, [("x", "f4")]),
        np.zeros(2, "M8[s]"),
    ],
)
def test_pickled_arrays_of_other_things(tmp_path: Path, value: np.ndarray):
    (tmp_path / "w").write_bytes(pickle.dumps({"a": value}))
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(tmp_path / "w")


def test_pickled_arrays_that_claim_more(tmp_path: Path):
    good = pickle.dumps({"a": np.zeros(77, np.float32)}, 3)
    (tmp_path / "w").write_bytes(good.replace(b"KM\x85", b"KN\x85"))
    with pytest.raises(CheckpointError, match="do not fit its shape"):
        read_checkpoint(tmp_path / "w")
    assert b"KM\x85" in good


def tensor_pickle(
    offset: int, shape: tuple, strides: tuple, count: int = 12, repeat: int = 1
) -> bytes:
    """The pickle of a state dict whose tensors view one float32 storage, written by hand."""

    class Storage:
        pass

    class Pickler(pickle._Pickler):
        def persistent_id(self, value: object) -> tuple | None:
            return (
                ("storage", torch.FloatStorage, "0", "cpu", count)
                if type(value) is Storage
                else None
            )

    class Tensor:
        def __reduce__(self) -> tuple:
            return torch._utils._rebuild_tensor_v2, (Storage(), offset, shape, strides, False, {})

    stream = io.BytesIO()
    Pickler(stream, 2).dump({f"a{i}": Tensor() for i in range(repeat)})
    return stream.getvalue()


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"offset": 0, "shape": (12,), "strides": (1,)}, ""),
        ({"offset": 0, "shape": (1, 12), "strides": (2**70, 1)}, ""),
        ({"offset": 1, "shape": (12,), "strides": (1,)}, "claims more"),
        ({"offset": 0, "shape": (2, 3), "strides": (2**62, 1)}, "claims more"),
        ({"offset": -1, "shape": (2,), "strides": (1,)}, "claims more"),
        ({"offset": 2**70, "shape": (2,), "strides": (1,)}, "claims more"),
        ({"offset": 5, "shape": (2, 2), "strides": (-1, 1)}, "negative"),
        ({"offset": 0, "shape": (-2,), "strides": (1,)}, "negative"),
        ({"offset": 0, "shape": (2,), "strides": (1, 1)}, "damaged"),
        ({"offset": 0, "shape": (2**40, 2**40), "strides": (0, 0)}, "claims more"),
        ({"offset": 0, "shape": (0, 2**70), "strides": (1, 1)}, "claims more"),
        ({"offset": 0, "shape": (1,) * 99, "strides": (1,) * 99}, "a shape that is none"),
        ({"offset": 0, "shape": (12,), "strides": (1,), "count": 13}, "claims more"),
        ({"offset": 0, "shape": (12,), "strides": (1,), "count": 2**60}, "claims more"),
        ({"offset": 0, "shape": (12,), "strides": (1,), "repeat": 4000}, ""),
        ({"offset": 0, "shape": (12,), "strides": (1,), "repeat": 10_001}, "10,001 tensors"),
    ],
)
def test_tensors_that_lie_about_their_storage(tmp_path: Path, facts: dict, message: str):
    with zipfile.ZipFile(tmp_path / "w", "w") as archive:
        archive.writestr("w/data.pkl", tensor_pickle(**facts))
        archive.writestr("w/data/0", np.arange(12, dtype=np.float32).tobytes())
    if message:
        with pytest.raises(CheckpointError, match=message):
            read_checkpoint(tmp_path / "w")
    else:
        assert read_checkpoint(tmp_path / "w")["a0"].flatten().tolist() == [*range(12)]


def test_one_storage_under_many_names_is_not_multiplied(tmp_path: Path):
    """100 names of 1 MB would take 100 MB: the same trick with more of both took any memory."""
    storage = torch.zeros(250_000)
    torch.save({f"a{i}": storage for i in range(2)}, tmp_path / "w")
    assert len(read_checkpoint(tmp_path / "w")) == 2, "tied weights are nothing bad"
    torch.save({f"a{i}": storage for i in range(100)}, tmp_path / "w")
    with pytest.raises(CheckpointError, match="claims more than is stored"):
        read_checkpoint(tmp_path / "w")


def test_damage_inside_a_tensor_is_noticed(tmp_path: Path):
    """torch itself does not look at the archive's checksums."""
    torch.save({"a": torch.ones(1000)}, tmp_path / "w")
    content = bytearray((tmp_path / "w").read_bytes())
    content[content.index(torch.ones(9).numpy().tobytes()) + 400] ^= 0x40
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(CheckpointError, match="Bad CRC-32"):
        read_checkpoint(tmp_path / "w")


def test_names_have_a_bound(tmp_path: Path):
    for write in (torch.save, lambda state, path: save_file(state, path)):
        write({"n" * 1_000_000: torch.zeros(2)}, tmp_path / "w")
        with pytest.raises(CheckpointError, match="1,000,000 characters; refused") as caught:
            read_checkpoint(tmp_path / "w")
        assert len(str(caught.value)) < 200 + len(str(tmp_path))


def test_a_safetensors_header_that_begins_as_a_pickle(tmp_path: Path):
    for length in (0x80, 0x280, 0x1_0280):
        header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
        content = struct.pack("<Q", length) + header.ljust(length) + struct.pack("<f", 2.5)
        (tmp_path / "w").write_bytes(content)
        assert read_checkpoint(tmp_path / "w")["a"].tolist() == [2.5]


def test_safetensors_of_one_name_twice(tmp_path: Path):
    entry = '{"dtype": "F32", "shape": [1], "data_offsets": [%d, %d]}'
    text = f'{{"a": {entry % (0, 4)}, "a": {entry % (0, 4)}}}'.encode()
    (tmp_path / "w").write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    with pytest.raises(CheckpointError, match="header is no JSON"):
        read_checkpoint(tmp_path / "w")


def test_archives_that_lie(tmp_path: Path):
    torch.save({"a": torch.ones(3)}, tmp_path / "good")
    with zipfile.ZipFile(tmp_path / "good") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}

    def refused(message: str, more: list[tuple[str, bytes]], change: Callable = bytes) -> None:
        with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "w", "w") as archive:
            warnings.simplefilter("ignore")  # of a name that is there twice
            for name, content in [*parts.items(), *more]:
                archive.writestr(name, content)
        (tmp_path / "w").write_bytes(change((tmp_path / "w").read_bytes()))
        with pytest.raises(CheckpointError, match=message):
            read_checkpoint(tmp_path / "w")

    refused("without the one data.pkl", [("good/data.pkl", parts["good/data.pkl"])])
    refused("without the one data.pkl", [("other/data.pkl", parts["good/data.pkl"])])
    refused("without the one data.pkl", [("good/data/0", bytes(12))])

    def enlarge(content: bytes) -> bytes:
        """Let the list of files say that the last one has 3 GB."""
        at = content.rindex(b"PK\x01\x02") + 24
        return content[:at] + struct.pack("<I", 3 * 2**30) + content[at + 4 :]

    refused("compressed archive", [("good/more", bytes(9))], enlarge)
    parts["good/byteorder"] = b"big"
    refused("big-endian", [])


def test_older_files_that_lie(tmp_path: Path):
    torch.save({"a": torch.ones(3)}, tmp_path / "w", _use_new_zipfile_serialization=False)
    good = (tmp_path / "w").read_bytes()
    ending = struct.pack("<q3f", 3, 1, 1, 1)
    assert good.endswith(ending)
    for content, message in (
        (
            good.removesuffix(ending) + struct.pack("<q4f", 4, 1, 1, 1, 1),
            "another size than stated",
        ),
        (good[:-1], "damaged or cut off"),
        (good.replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89"), "big-endian"),
    ):
        assert content != good
        (tmp_path / "w").write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            read_checkpoint(tmp_path / "w")


def test_a_small_tensor_that_pretends_to_be_larger(tmp_path: Path):
    """So little that the file's size would hold it."""
    torch.save({"a": torch.zeros(1).expand(20)}, tmp_path / "w")
    with pytest.raises(CheckpointError, match="a claims more than is stored"):
        read_checkpoint(tmp_path / "w")


def test_tensors_several_keys_deep(tmp_path: Path):
    torch.save({"model": {"state_dict": {"net": STATE}}}, tmp_path / "w")
    assert same(read_checkpoint(tmp_path / "w"))


def test_counters_are_read(tmp_path: Path):
    save_file(STATE | {"steps": torch.tensor(7)}, tmp_path / "w")
    assert read_checkpoint(tmp_path / "w")["steps"].item() == 7


def test_an_archive_of_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Their list alone would take ten times the file's bytes; it is not even read."""
    monkeypatch.setattr(torch_files, "MAX_ENTRIES", 50)
    with zipfile.ZipFile(tmp_path / "w", "w") as archive:
        for i in range(51):
            archive.writestr(f"w/data/{i}", b"")
    monkeypatch.setattr(zipfile, "ZipFile", None)
    with pytest.raises(CheckpointError, match="more than 50 files"):
        read_checkpoint(tmp_path / "w")


def test_entries_whose_key_is_no_text_are_left_out(tmp_path: Path):
    torch.save({1: torch.ones(2), (2, 3): torch.ones(2), **STATE}, tmp_path / "w")
    assert same(read_checkpoint(tmp_path / "w"))
