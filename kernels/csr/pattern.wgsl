// The pattern of compressed sparse rows: row b (of blocks) stores entries indptr[b] .. indptr[b + 1] - 1, each with a
// column (of blocks). Columns take INDEX_BITS = 16 (two in a word, the first in the low half) or 32 bits.
//
// An entry is ITEMS items, one column each. OVERHANG of those in the last block of columns, LAST_COLUMN, are past the
// matrix.
//
// Of the entries those from params.base on are bound, and counted from there.
@group(0) @binding(1) var<storage, read> indptr: array<u32>;
@group(0) @binding(6) var<storage, read> indices: array<u32>;

fn column_of(entry: u32) -> u32 {
  if (INDEX_BITS == 32u) {
    return indices[entry];
  }
  return extractBits(indices[entry / 2u], entry % 2u * 16u, 16u);
}

/// The first item of row b of blocks.
fn begin_of(b: u32) -> u32 {
  return (indptr[b] - params.base) * ITEMS;
}

/// One past the last item of row b of blocks.
fn end_of(b: u32) -> u32 {
  let end = indptr[b + 1u] - params.base;
  if (OVERHANG > 0u && end > indptr[b] - params.base && column_of(end - 1u) == LAST_COLUMN) {
    return end * ITEMS - OVERHANG;
  }
  return end * ITEMS;
}

/// The column of W that an item multiplies; of blocks, where an item is a block.
fn column_at(item: u32) -> u32 {
  return column_of(item / ITEMS) * ITEMS + item % ITEMS;
}
