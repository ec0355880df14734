"""A Dataset as NetCDF: the same Dataset gives the same bytes, and a damaged file one error."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import xarray as xr

from coupling.errors import CouplingError, first_line
from coupling.untrusted import check_regular, clean


def to_bytes(dataset: xr.Dataset) -> bytes:
    """A Dataset as NetCDF; the same Dataset gives the same bytes."""
    encoding = {name: {"zlib": True, "complevel": 4} for name in dataset.data_vars if dataset[name].dtype.kind == "f"}
    return bytes(dataset.to_netcdf(engine="h5netcdf", encoding=encoding))


def read_dataset(path: Path, without: Collection[str] = ()) -> xr.Dataset:
    """The Dataset in a NetCDF file.

    Args:
        path: the file.
        without: variables that are not read.

    Raises:
        CouplingError: if it cannot be read.
    """
    try:
        check_regular(path)
        with xr.open_dataset(path, engine="h5netcdf", drop_variables=list(without)) as dataset:
            loaded = dataset.load()
    except CouplingError:
        raise
    except Exception as error:  # h5py and xarray raise anything at a file that is damaged
        raise CouplingError(
            f"{clean(path, 300)} is not a NetCDF file that can be read: {clean(first_line(error), 300)}"
        ) from None
    for name in loaded.variables:  # xarray reads texts as objects; ours are all str
        if loaded[name].dtype.kind == "O":
            loaded[name] = loaded[name].astype(str)
    loaded.attrs = {
        key: value.item() if isinstance(value, np.generic) else value for key, value in loaded.attrs.items()
    }
    return loaded.drop_encoding()  # a second write then gives the same bytes
