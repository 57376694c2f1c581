"""The weights of the learned gain rule are checked before use."""

from pathlib import Path

import pytest
from places import ROOT

from darkroom.errors import WeightsError
from darkroom.weights import store
from darkroom.weights.gain_network import GAIN_NETWORK, load_gain_network

FOLDER = ROOT / "weights"


def test_it_is_the_one_on_its_card() -> None:
    file = FOLDER / GAIN_NETWORK.name
    assert store.sha256(file) == GAIN_NETWORK.sha256
    assert file.stat().st_size == GAIN_NETWORK.size
    assert str(GAIN_NETWORK.sha256) in (FOLDER / "amplifier.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("content", [b"", b"{}", None, "tampered"])
def test_an_installation_without_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | str | None
) -> None:
    whole = (FOLDER / GAIN_NETWORK.name).read_bytes()
    if content is not None:
        tampered = whole[:-1] + bytes([whole[-1] ^ 1])
        (tmp_path / GAIN_NETWORK.name).write_bytes(
            tampered if isinstance(content, str) else content
        )
    monkeypatch.setattr(store, "bundled_folder", lambda: tmp_path)
    with pytest.raises(WeightsError, match="reinstall darkroom"):
        load_gain_network()
