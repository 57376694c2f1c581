"""Crops of pairs: the packed form of the whole photo, cut; targets upon them; seed and step."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pair_photos import BAYER_PHASE, XTRANS_PHASE, MemoryStore, make_source, photo, reference

from darkroom.errors import UsageError
from darkroom.gain import GainRule
from darkroom.gain.redi import redi_gain
from darkroom.mosaic.packing import align, linearise, pack
from darkroom.pairs.exposures import ExposurePair
from darkroom.raw.image import CFA, Sensor
from darkroom.training.pairs.batches import (
    PairCrop,
    choose_scenes,
    cut_crop,
    draw_batch,
    draw_batches,
    draw_crop,
    keep_first_of_bursts,
    turn_crop,
)
from darkroom.training.pairs.networks import find_network
from darkroom.training.pairs.networks.sid import SID_RECIPE

RECIPE = replace(SID_RECIPE, crop=48, batch=4)
PHASES = [CFA("RGGB"), CFA("GRBG"), CFA("GBRG"), CFA("BGGR")]
PHASES += [XTRANS_PHASE.shifted(down, right) for down, right in ((0, 0), (1, 2), (3, 5), (4, 1))]


@pytest.mark.parametrize("cfa", PHASES, ids=lambda cfa: cfa.pattern[:6])
def test_a_crop_is_cut_from_the_whole_packed_form(cfa: CFA) -> None:
    """To the bit, whatever the phase, with levels for each site and row; the target lies on it."""
    size = (67, 79)
    random = np.random.default_rng(3)
    raw = replace(
        photo(1, size, cfa),
        black=random.uniform(500, 520, (cfa.period, cfa.period)).astype(np.float32),
        white=random.uniform(16000, 16383, (cfa.period, cfa.period)).astype(np.float32),
        row_black=random.normal(0, 3, size[0]).astype(np.float32),
    )
    # A reference whose pixels say where they are.
    down, right = np.indices(size)
    where = np.stack([down, right, down + right], axis=2).astype(np.uint16)
    pair = ExposurePair(Path("a.ARW"), Path("a.png"), 250.0, "a")
    store = MemoryStore({pair.short: (raw, where)})
    aligned = align(linearise(raw), raw.cfa)
    whole = pack(aligned.mosaic, aligned.cfa) * np.float32(250)
    scale = 2 if cfa.period == 2 else 3
    parities = set()
    for seed in range(20):
        crop = cut_crop(store, pair, 24, np.random.default_rng(seed))
        top, left = (round(float(one)) for one in crop.target[:2, 0, 0] * 65535)
        assert (top - aligned.top) % scale == (left - aligned.left) % scale == 0
        y, x = (top - aligned.top) // scale, (left - aligned.left) // scale
        count = 24 // scale
        assert np.array_equal(crop.packed, whole[:, y : y + count, x : x + count])
        codes = (crop.target * 65535).round()
        assert np.array_equal(codes.transpose(1, 2, 0), where[top : top + 24, left : left + 24])
        parities.add((y % 2, x % 2))
    assert len(parities) == 4, "X-Trans begins within its period too, as in train_Fuji.py"


def test_batches_depend_on_seed_and_step_alone() -> None:
    source = make_source()
    first, again = (draw_batch(source, RECIPE, 3) for _ in range(2))
    assert torch.equal(first.packed, again.packed)
    assert torch.equal(first.targets, again.targets)
    other = (draw_batch(source, RECIPE, 4), draw_batch(source, replace(RECIPE, seed=1), 3))
    assert not any(torch.equal(first.packed, one.packed) for one in other)
    ahead = list(draw_batches(source, RECIPE, range(2, 6)))
    assert len(ahead) == 4
    assert torch.equal(ahead[1].packed, first.packed)


def test_an_epoch_sees_each_scene_once_in_one_of_its_exposures() -> None:
    source = make_source(scenes=5)
    recipe = replace(RECIPE, batch=1)
    seen = [draw_crop(source, recipe, step, 0).pair for step in range(200)]
    for start in range(0, 200, 5):
        assert Counter(pair.scene for pair in seen[start : start + 5]) == Counter(
            scene[0].scene for scene in source.scenes
        )
    orders = {tuple(pair.scene for pair in seen[start : start + 5]) for start in range(0, 200, 5)}
    assert len(orders) > 20
    # 200 draws of probability 1/2: a standard deviation of 7.
    assert sum(pair.ratio == 100 for pair in seen) == pytest.approx(100, abs=28)


def test_processes_share_a_batch() -> None:
    source = make_source()
    whole = draw_batch(source, RECIPE, 7)
    parts = [draw_batch(source, RECIPE, 7, rank, 2) for rank in range(2)]
    assert torch.equal(torch.cat([part.packed for part in parts]), whole.packed)
    assert torch.equal(torch.cat([part.targets for part in parts]), whole.targets)
    assert torch.equal(torch.cat([part.ratios for part in parts]), whole.ratios)


@pytest.mark.parametrize("names", [("flip_rows",), ("flip_columns",), ("transpose",), ()])
def test_crop_and_target_are_turned_alike(names: tuple[str, ...]) -> None:
    """Enlarging the packed form by two gives places that move as the target's do."""
    source = make_source(size=(64, 64))
    crop = cut_crop(source.store, source.scenes[0][0], 48)
    never = replace(RECIPE, flip_rows=0.0, flip_columns=0.0, transpose=0.0)
    turned = turn_crop(
        crop._replace(target=crop.packed.repeat(2, axis=1).repeat(2, axis=2)),
        replace(never, **dict.fromkeys(names, 1.0)),
        np.random.default_rng(0),
    )
    enlarged = turned.packed.repeat(2, axis=1).repeat(2, axis=2)
    assert np.array_equal(turned.target, enlarged)
    assert np.array_equal(turned.packed, crop.packed) == (not names)


def test_half_of_the_crops_are_turned_each_way() -> None:
    source = make_source(scenes=1, size=(48, 48), exposures=(100.0,))
    plain = cut_crop(source.store, source.scenes[0][0], 48).packed
    found = Counter()
    for step in range(400):
        packed = draw_crop(source, replace(RECIPE, batch=1), step, 0).packed
        for transposed in (False, True):
            straight = packed.swapaxes(1, 2) if transposed else packed
            for flips in ((), (1,), (2,), (1, 2)):
                if np.array_equal(np.flip(straight, flips), plain):
                    found[transposed, flips] += 1
    assert sum(found.values()) == 400
    # Of probability 1/8 each: 50, and a standard deviation of 6.6.
    assert all(value == pytest.approx(50, abs=27) for value in found.values())
    assert len(found) == 8


def test_fractions_are_parts_of_each_other_and_bursts_are_left_out() -> None:
    scenes = make_source(scenes=20).scenes
    few, many = choose_scenes(scenes, 0.2, 3), choose_scenes(scenes, 0.5, 3)
    assert (len(few), len(many)) == (4, 10)
    assert set(few) < set(many) < set(scenes)
    assert choose_scenes(scenes, 0.2, 4) != few
    assert len(choose_scenes(scenes, 0.001, 0)) == 1

    def pair(name: str) -> ExposurePair:
        return ExposurePair(Path(name), Path("long.ARW"), 100.0, name[:5])

    bursts = (pair("00001_00_0.1s.ARW"), pair("00001_01_0.1s.ARW"), pair("00001_00_0.04s.ARW"))
    other = (pair("IMG_1.dng"), pair("IMG_2.dng"))
    assert keep_first_of_bursts((bursts, other)) == ((bursts[0], bursts[2]), other)


def test_photos_that_do_not_fit_are_told_in_one_line() -> None:
    source = make_source(size=(40, 60))
    with pytest.raises(UsageError, match="60x40 photosites are too few for crops of 48; give --c"):
        draw_batch(source, RECIPE, 0)
    pair = source.scenes[0][0]
    other = MemoryStore({pair.short: (photo(1, (60, 60), XTRANS_PHASE), reference(1, (60, 60)))})
    mixed = replace(source, store=other, scenes=((pair,),))
    with pytest.raises(UsageError, match="X-Trans among Bayer; train on one kind"):
        draw_crop(mixed, RECIPE, 0, 0)
    assert source.digest != replace(source, scenes=source.scenes[1:]).digest
    assert BAYER_PHASE.period == 2


def test_flips_of_the_mosaic_change_the_places_of_its_sites() -> None:
    """As REDI and LLPackNet flip: before packing, so that red and green change places."""
    mosaic = np.arange(64, dtype=np.float32).reshape(8, 8)
    picture = mosaic[None].repeat(3, 0)
    raw = photo(1, (8, 8))
    pair = make_source().scenes[0][0]
    crop = PairCrop(pack(mosaic, BAYER_PHASE), picture, pair, raw)
    always = replace(
        find_network("redi", Sensor.BAYER).recipe, flip_rows=1.0, flip_columns=1.0, transpose=0.0
    )
    assert always.flip_sites
    for rows, columns in ((1, 0), (0, 1), (1, 1)):
        recipe = replace(always, flip_rows=float(rows), flip_columns=float(columns))
        turned = turn_crop(crop, recipe, np.random.default_rng(0))
        flipped = mosaic[:: 1 - 2 * rows, :: 1 - 2 * columns]
        assert np.array_equal(turned.packed, pack(flipped, BAYER_PHASE))
        assert np.array_equal(turned.target[0], flipped)


def test_with_an_m_photos_are_amplified_by_redis_own_estimate() -> None:
    """That of the whole photo, as its training code finds it where `gt_amp` is off."""
    source = make_source(exposures=(100.0,))
    recipe = replace(SID_RECIPE, batch=1, crop=32, m=5.0)
    for step in range(3):
        batch = draw_batch(source, recipe, step)
        plain = draw_batch(source, replace(recipe, m=0.0), step)
        gains = {
            redi_gain(source.store.raw(scene[0].short), GainRule.REDI_TRAIN, 5.0).value
            for scene in source.scenes
        }
        assert any(batch.ratios.item() == pytest.approx(gain) for gain in gains)
        assert torch.allclose(batch.packed / batch.ratios, plain.packed / 100)
    with pytest.raises(UsageError, match="m = 12"):
        replace(recipe, m=12.0)
