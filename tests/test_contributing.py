"""What .github/CONTRIBUTING.md shows of adding a network runs as it is written there."""

import re
import sys
from types import ModuleType

import pytest
from places import ROOT

from darkroom.models.architectures import ARCHITECTURES

PAGE = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
NAME = "darkroom.models.architectures.threefold"


def test_the_example_of_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    module, tests = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    threefold = ModuleType(NAME)
    monkeypatch.setitem(sys.modules, NAME, threefold)
    exec(module, vars(threefold))
    names: dict[str, object] = {}
    exec(tests, names)
    shown = [value for name, value in names.items() if name.startswith("test_")]
    assert len(shown) == 2
    for test in shown:
        assert callable(test)
        test()
    (new,) = threefold.ARCHITECTURES
    assert not any(one.recognise(new.dialects[0]) for one in ARCHITECTURES), "no other takes it"


def test_what_it_names_exists() -> None:
    paths = re.findall(r"`((?:darkroom|tests|weights)/[\w/.]+)`|\]\(\.\./([^)#]+)", PAGE)
    assert len(paths) > 8
    for one, other in paths:
        assert "threefold" in one or (ROOT / (one or other)).exists(), one or other
