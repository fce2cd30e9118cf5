// Weights as compressed sparse rows: entries indptr[r] .. indptr[r + 1] - 1 are (column, value). Columns take
// INDEX_BITS = 16 (two in a word, the first in the low half) or 32 bits.
@group(0) @binding(1) var<storage, read> indptr: array<u32>;
@group(0) @binding(2) var<storage, read> indices: array<u32>;
@group(0) @binding(3) var<storage, read> values: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;

fn column_of(entry: u32) -> u32 {
  if (INDEX_BITS == 32u) {
    return indices[entry];
  }
  return extractBits(indices[entry / 2u], entry % 2u * 16u, 16u);
}
