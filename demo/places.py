# SPDX-FileCopyrightText: 2026 The Dragoman Authors
# SPDX-License-Identifier: Apache-2.0
"""Where the demo keeps its things: below one absolute folder, build/demo in the repository."""

import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Places:
    root: Path

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def cache(self) -> Path:
        """Data sets: kept between runs, because what is fetched by its hash does not change."""
        return self.root / "cache"

    @property
    def exchange(self) -> Path:
        """Files between the demo's own processes."""
        return self.root / "exchange"

    @property
    def report(self) -> Path:
        return self.root / "report.json"

    @property
    def picture(self) -> Path:
        return self.root / "confusion.png"

    def clear(self) -> None:
        """Remove what an earlier run left, but its data sets. A count is only worth something in a fresh log."""
        for folder in (self.home, self.exchange):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self.report, self.picture):
            file.unlink(missing_ok=True)
        self.exchange.mkdir(parents=True)
