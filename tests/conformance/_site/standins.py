"""Classes of tercet with the options that make them do as the standard library's do."""

from __future__ import annotations

from typing import Any

import tercet


class ProcessPoolExecutor(tercet.ProcessPoolExecutor):
    """One that breaks when a worker dies."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, on_crash="break", **kwargs)
