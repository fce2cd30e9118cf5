// 2:4 sparse weights: item 2 * (r * PAIRS + g) + i is value i of the two in columns 4 * g .. 4 * g + 3 of row r. Their
// positions in the four are first | second << 2, a nibble each; rows of nibbles start on a byte.
// Constants: PAIRS = pairs of a row; LAST_COLUMNS = columns of the last four that are in the matrix.
@group(0) @binding(6) var<storage, read> positions: array<u32>;
@group(0) @binding(7) var<storage, read> values: array<f32>;

fn positions_of(r: u32, g: u32) -> u32 {
  let nibble = r * ((PAIRS + 1u) / 2u * 2u) + g;
  return extractBits(positions[nibble / 8u], nibble % 8u * 4u, 4u);
}

/// The first item of row r.
fn begin_of(r: u32) -> u32 {
  return r * PAIRS * 2u;
}

/// One past the last item of row r that is in the matrix.
fn end_of(r: u32) -> u32 {
  let end = (r + 1u) * PAIRS * 2u;
  if (LAST_COLUMNS == 4u) {
    return end;
  }
  let pair = positions_of(r, PAIRS - 1u);
  return end - u32((pair & 3u) >= LAST_COLUMNS) - u32((pair >> 2u) >= LAST_COLUMNS);
}

/// Which element of a row of A an item multiplies.
fn element_of(item: u32) -> u32 {
  let g = item / 2u % PAIRS;
  let pair = positions_of(item / (2u * PAIRS), g);
  return 4u * g + select(pair & 3u, pair >> 2u, item % 2u == 1u);
}

/// The weight of an item in row r.
fn value_of(item: u32, r: u32) -> f32 {
  return values[item];
}
