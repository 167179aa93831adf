"""ESC-10 (Piczak 2015, CC BY 3.0), which is not shipped: ESC10_FOLDER names its folder (ten folders of forty .ogg files)."""
import os

import numpy as np
import pandas as pd
import pytest

from tenant_lab.audio.catalogue import extract_folder
from tenant_lab.audio.fingerprint import fingerprint, near_duplicates
from tenant_lab.audio.genres import evaluate
from tenant_lab.audio.io import read_audio
from tenant_lab.audio.tags import Tagger

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def esc10(tmp_path_factory):
    """The folder, and of each clip its features, label and fold."""
    folder = os.environ.get("ESC10_FOLDER")
    if folder is None:
        pytest.skip("ESC10_FOLDER names no folder")
    made = extract_folder(folder, tmp_path_factory.mktemp("esc") / "esc.parquet", workers=2)
    rows = made.frame()
    names = rows["file"].str.split("/")
    label, fold = names.str[0], names.str[1].str[0]
    assert (made.files, made.failed, label.nunique(), fold.nunique()) == (400, 0, 10, 5)
    return folder, rows, label, fold


def test_ten_classes_from_the_signal_alone(esc10, record_property):
    """At least 88 %; a support vector machine on means and deviations of five of librosa's features reaches 86.5 %."""
    folder, rows, label, fold = esc10
    found = evaluate(rows, label, groups=fold, folds=5)
    for name in ("accuracy", "low", "high", "macro_f1", "log_loss", "calibration_error"):
        record_property(name, round(getattr(found, name), 4))
    assert found.accuracy >= 0.88 and found.log_loss < 0.5
    pairs = near_duplicates([fingerprint(read_audio(os.path.join(folder, name))[0]) for name in rows["file"]])
    across = [(rows["file"][d.first], rows["file"][d.second]) for d in pairs if fold[d.first] != fold[d.second]]
    record_property("near duplicates", len(pairs))
    assert len(pairs) >= 3 and any("3-151080-A" in a and "5-151085-A" in b for a, b in across)
    assert np.mean([label[d.first] == label[d.second] for d in pairs]) == 1


@pytest.mark.parametrize("network", ["MTT", "MSD"])
def test_an_embedding_that_learnt_from_music_takes_nothing_away(esc10, home, network, record_property):
    """Beside the features, that is; alone it has to be far above the ten percent of a guess."""
    folder, rows, label, fold = esc10
    tagger = Tagger.load(network, home)
    found = np.array([tagger(*read_audio(os.path.join(folder, name)), hop=1.0).embedding for name in rows["file"]])
    alone = evaluate(found, label, groups=fold, folds=5)
    both = evaluate(rows.join(pd.DataFrame(found, columns=[f"e{n:03d}" for n in range(200)])), label, groups=fold, folds=5)
    record_property("alone", round(alone.accuracy, 4))
    record_property("both", round(both.accuracy, 4))
    assert alone.low > 0.7 and both.accuracy >= 0.88
