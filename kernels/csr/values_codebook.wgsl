// Items of one weight, codes of BITS bits into a codebook; the first code sits in the low bits.
@group(0) @binding(5) var<storage, read> codebook: array<f32>;
@group(0) @binding(7) var<storage, read> codes: array<u32>;

const CODES_PER_WORD = 32u / BITS;

/// Which element of a row of A an item multiplies.
fn element_of(item: u32) -> u32 {
  return column_at(item);
}

/// The weight of an item in row r.
fn value_of(item: u32, r: u32) -> f32 {
  return codebook[extractBits(codes[item / CODES_PER_WORD], item % CODES_PER_WORD * BITS, BITS)];
}
