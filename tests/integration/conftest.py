"""A Ceph for all tests here that a worker gets: they use images of their own."""

from collections.abc import Iterator

import pytest
from ceph import Ceph, serving


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    with serving(tmp_path_factory.mktemp("ceph")) as cluster:
        yield cluster
