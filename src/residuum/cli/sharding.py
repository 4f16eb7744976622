"""residuum shard."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from residuum.cli.base import Flag, Json, app, print_json


@app.command
def shard(
    data: str,
    *,
    out: Path,
    pictures_per_shard: int | None = None,
    allow_bad: Annotated[bool, Flag] = False,
    json: Json = False,
) -> None:
    """Write a data set as shards, WebDataset's tar files, for `shards:PATTERN`; all are read back and compared.

    Args:
        data: As for `train`. Its pictures' files are copied as they are; arrays become PNG.
        out: Folder for the shards, new or empty.
        pictures_per_shard: Pictures in a tar; by default so many that it has about 100 MB.
        allow_bad: Go on even if more than 1% of the files are unreadable.
    """
    from residuum.config import to_dict
    from residuum.data.shards.writing import write_shards
    from residuum.errors import shown
    from residuum.progress import Reporter

    index = write_shards(data, out, pictures_per_shard=pictures_per_shard, allow_bad=allow_bad, reporter=Reporter())
    if json:
        print_json({"out": str(out), "compared": sum(shard.pictures for shard in index.shards)} | to_dict(index))
        return
    for part in dict.fromkeys(shard.part for shard in index.shards):
        own = [shard for shard in index.shards if shard.part == part]
        pictures, size = sum(shard.pictures for shard in own), sum(shard.bytes for shard in own)
        print(f"{part:5} {pictures:,} pictures in {len(own):,} shards, {size / 1e6:,.1f} MB")
    print("every picture and label was read back and equals the source")
    print(f"next  residuum train shards:{shown(shlex.quote(str(out)))}")
