"""Raw files from a repository or a mirror, each kept once it is whole."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from connectome_gnn.errors import ConnectomeError
from connectome_gnn.progress import progress

__all__ = ["Downloads", "RawFile", "ready_folder"]

MIRROR = "CONNECTOME_GNN_DATA"
CONNECTIONS = 4
"""Files that are downloaded at once."""
PATIENCE = 60
"""Seconds without a byte after which a server is given up."""


@dataclass(frozen=True)
class RawFile:
    """One file of a cohort.

    Attributes
    ----------
    name : its path below ``raw/`` in the cache and in mirrors.
    urls : where it is published; tried in this order.
    sha256 : checksum, None where it is not known.
    """

    name: str
    urls: tuple[str, ...]
    sha256: str | None = None


def ready_folder(name: str) -> Path | None:
    """The cohort's native folder where CONNECTOME_GNN_DATA names one, or the folder that holds it."""
    root = os.environ.get(MIRROR, "")
    if not root or _is_address(root):
        return None
    inside, itself = Path(root) / name, Path(root)
    if (inside / "connectomes.npy").is_file():
        return inside
    return itself if itself.name == name and (itself / "connectomes.npy").is_file() else None


class Downloads:
    """The raw files of a cohort, in the cache or in a mirror's folder.

    Parameters
    ----------
    cohort : its name.
    cache : folder for what is downloaded; default ``pooch.os_cache("connectome_gnn")``.
    """

    def __init__(self, cohort: str, cache: str | Path | None = None) -> None:
        import pooch

        self.cohort = cohort
        self.folder = Path(pooch.os_cache("connectome_gnn") if cache is None else cache)
        mirror = os.environ.get(MIRROR, "")
        self.mirror = mirror.rstrip("/") if _is_address(mirror) else ""
        beside = Path(mirror) / cohort / "raw"
        self.at_hand = beside if mirror and not self.mirror and beside.is_dir() else None

    @property
    def raw_folder(self) -> Path:
        """Where the raw files are."""
        return self.at_hand or self.folder / self.cohort / "raw"

    def all(self, files: Sequence[RawFile], description: str) -> Iterator[tuple[RawFile, Path]]:
        """Files and where they are, downloaded where they are not at hand.

        Raises
        ------
        ConnectomeError
            If one cannot be reached, is missing, arrives in part, or is not the one that was checked.
        """
        with progress(description, len(files)) as advance, _quiet(), ThreadPoolExecutor(CONNECTIONS) as pool:
            try:
                for raw, path in zip(files, pool.map(self._get, files), strict=True):
                    advance()
                    yield raw, path
            finally:
                pool.shutdown(cancel_futures=True)

    def _get(self, raw: RawFile) -> Path:
        if self.at_hand is not None:
            return self._checked(self.at_hand / raw.name, raw)
        urls = (f"{self.mirror}/{self.cohort}/raw/{raw.name}",) if self.mirror else raw.urls
        for url in urls[:-1]:
            with suppress(ConnectomeError):
                return self._retrieved(url, raw)
        return self._retrieved(urls[-1], raw)

    def _retrieved(self, url: str, raw: RawFile) -> Path:
        """A file from an address, or from the cache where it has arrived before."""
        import pooch
        import requests

        target = self.raw_folder / raw.name
        try:
            found = pooch.retrieve(
                url,
                raw.sha256 and f"sha256:{raw.sha256}",
                fname=target.name,
                path=target.parent,
                downloader=pooch.HTTPDownloader(timeout=PATIENCE),
            )
        except requests.HTTPError as error:
            code = "no answer" if error.response is None else f"{error.response.status_code} {error.response.reason}"
            raise ConnectomeError(
                f"{url} cannot be downloaded ({code}); the repository or the mirror does not have this file of {self.cohort} now"
            ) from error
        except (requests.ConnectionError, requests.Timeout) as error:
            raise ConnectomeError(
                f"{url} cannot be reached; connect to the network, or name a mirror or a ready folder in {MIRROR} (what arrived is kept)"
            ) from error
        except (requests.RequestException, OSError) as error:
            raise ConnectomeError(
                f"{url} did not arrive whole ({_first_line(error)}); fetch {self.cohort} again, which goes on with what has not arrived"
            ) from error
        except ValueError as error:  # pooch's word for another checksum
            raise ConnectomeError(
                f"{url} is not the file that was checked (another sha256 than {raw.sha256}); it is not kept, try again or another mirror"
            ) from error
        return Path(found)

    def _checked(self, path: Path, raw: RawFile) -> Path:
        """A file of a mirror's folder."""
        if not path.is_file():
            raise ConnectomeError(f"no file {path}; {MIRROR} names a mirror of {self.cohort} that lacks it")
        if raw.sha256 is not None and hashlib.sha256(path.read_bytes()).hexdigest() != raw.sha256:
            raise ConnectomeError(f"{path} is not the file that was checked (another sha256 than {raw.sha256}); copy it again")
        return path


def _is_address(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200] or type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep pooch from announcing each of hundreds of files."""
    import pooch

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
