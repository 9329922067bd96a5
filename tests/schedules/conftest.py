"""The processors that the kernels run on, as fixtures."""

import pytest
from families import CPUS, FAMILIES, Family, parameters


@pytest.fixture(scope="session", params=parameters(FAMILIES))
def family(request) -> Family:
    """Each multiply instruction that there is."""
    return _available(request, request.param)


@pytest.fixture(scope="session", params=CPUS)
def cpu(request) -> Family:
    """One processor for each width of vectors."""
    return _available(request, CPUS[request.param])


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Where shared objects go."""
    return tmp_path_factory.mktemp("kernels")


def _available(request, name):
    family = FAMILIES[name]
    if family.is_32_bit:
        request.getfixturevalue("armv7")
    elif family.emulated:
        request.getfixturevalue(
            "aarch64_i8mm"
            if "smmla" in family.features
            else "aarch64_dotprod"
            if "sdot" in family.features
            else "aarch64"
        )
    elif family.lacking:
        pytest.skip(f"{name}: this processor lacks {', '.join(family.lacking)}")
    elif family.has_tiles:
        request.getfixturevalue("tiles")
    return family
