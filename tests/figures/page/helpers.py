"""What several tests of the report share: its data, and a run that tries to break out of the page."""

import json
import re
from typing import Any

import numpy as np
import xarray as xr

from coupling.figures.page.section import Extent, Material

HOSTILE = "</title></script><script>document.title='taken'</script><img src=x onerror=alert(1)>"


def page_data(page: str) -> dict[str, Any]:
    """What the charts of a page draw."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, flags=re.DOTALL)
    return json.loads(text)


def material(
    *runs: xr.Dataset, prompts: int = 1, tokens: int = 100, skips: Any = (0,), ks: Any = (), **extent: int
) -> Material:
    """What sections draw of a few runs."""
    return Material(runs, Extent(prompts, tokens, **extent), skips, ks=ks)


def hostile_run(run: xr.Dataset) -> xr.Dataset:
    """A run whose texts are markup."""
    hostile = run.copy()
    hostile.attrs |= {"model": HOSTILE, "prompts": HOSTILE}
    hostile["prompt_text"] = hostile.prompt_text.copy(data=[HOSTILE, "<script>\u2028", "</title>"])
    hostile["token_text"] = hostile.token_text.copy(data=np.full(hostile.token_text.shape, "</script>"))
    return hostile
