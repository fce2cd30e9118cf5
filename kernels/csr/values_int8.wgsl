// Items of signed bytes, which multiply words of four: a block of four columns that is a word of activations
// (WHOLE_WORDS), or one byte of a word and zeros.
// Constants: PIXEL_CHANNELS = channels of a pixel in a group, CHANNELS = words of those.
@group(0) @binding(7) var<storage, read> codes: array<u32>;

/// Which element of a row of A an item multiplies.
fn element_of(item: u32) -> u32 {
  let column = column_at(item);
  if (WHOLE_WORDS) {
    return column;
  }
  return column / PIXEL_CHANNELS * CHANNELS + column % PIXEL_CHANNELS / 4u;
}

/// The weights of an item in row r.
fn value_of(item: u32, r: u32) -> u32 {
  if (WHOLE_WORDS) {
    return codes[item];
  }
  let byte = column_at(item) % PIXEL_CHANNELS % 4u;
  return extractBits(codes[item / 4u], item % 4u * 8u, 8u) << (8u * byte);
}
