"""What a person or a language model is shown of an item."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def displayed(title: pa.Array, year: pa.Array) -> pa.Array:
    """``Title (1995)``, or the bare title where the year is unknown; strings, item by item."""
    with_year = pc.binary_join_element_wise(
        title, " (", pc.cast(year, pa.string()), ")", "", null_handling="emit_null"
    )
    return pc.coalesce(with_year, title)
