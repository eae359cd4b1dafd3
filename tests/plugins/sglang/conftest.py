"""A ModelHandler and the stand-in server that it asks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aiohttp import web

from plugins.sglang.model_handler import SGLangModelHandler
from tests.plugins.sglang.stand_in import QUICK, StandIn


@pytest.fixture
def server(serve: Callable[[web.Application], str]) -> StandIn:
    stand_in = StandIn()
    stand_in.url = serve(stand_in.app())
    return stand_in


@pytest.fixture
def handler(server: StandIn) -> SGLangModelHandler:
    return SGLangModelHandler(endpoints=[server.url], options=QUICK)
