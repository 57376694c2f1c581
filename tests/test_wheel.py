"""The wheel brings the bundled weights along and works where there is no checkout."""

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from places import ROOT

from darkroom.weights.registry import ENTRIES


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's contents, as an installation lays them out."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
        script = archive.getinfo("darkroom/integrations/desktop.sh")
    assert script.external_attr >> 16 & 0o111 == 0o111, "pip keeps it executable"
    return folder / "site"


def test_weights_and_cards_are_inside(installed: Path) -> None:
    bundled = installed / "darkroom" / "weights" / "bundled"
    for file in ENTRIES["safelight"].files:
        assert (bundled / file.name).read_bytes() == (ROOT / "weights" / file.name).read_bytes()
    assert (bundled / "safelight.md").is_file()
    assert (installed / "darkroom" / "py.typed").is_file()
    assert (installed / "darkroom" / "batch" / "report" / "page.html.j2").is_file()
    assert (installed / "darkroom" / "integrations" / "darktable.lua").is_file()
    assert not (installed / "tests").exists()
    pages = [path.parent for path in installed.rglob("README.md")]
    assert pages == [bundled], "pages for those who have the source stay there"


def test_enhance_works_from_the_wheel(
    installed: Path, tmp_path: Path, dng_path: Callable[..., Path]
) -> None:
    photo = dng_path()
    code = (
        "import darkroom, sys; from pathlib import Path; from darkroom.cli import main; "
        f"assert Path(darkroom.__file__).is_relative_to({str(installed)!r}), darkroom.__file__; "
        f"sys.argv = ['darkroom', 'enhance', {str(photo)!r}, '-o', 'out.png']; main()"
    )
    # -P and -I would hide the folder; an editable install of the checkout comes after PYTHONPATH.
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed), "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / "out.png").is_file()
