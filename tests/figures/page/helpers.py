"""What several tests of the report share: its specifications, and a run that tries to break out of the page."""

import json
import re
from typing import Any

import numpy as np
import xarray as xr

HOSTILE = "</title></script><script>document.title='taken'</script><img src=x onerror=alert(1)>"


def specifications(page: str) -> list[dict[str, Any]]:
    """The Vega-Lite specifications of a page, in order."""
    texts = re.findall(r'<script type="application/json">(.*?)</script>', page, flags=re.DOTALL)
    return [json.loads(text) for text in texts]


def hostile_run(run: xr.Dataset) -> xr.Dataset:
    """A run whose texts are markup."""
    hostile = run.copy()
    hostile.attrs |= {"model": HOSTILE, "prompts": HOSTILE}
    hostile["prompt_text"] = hostile.prompt_text.copy(data=[HOSTILE, "<script>", "</title>"])
    hostile["token_text"] = hostile.token_text.copy(data=np.full(hostile.token_text.shape, "</script>"))
    return hostile
