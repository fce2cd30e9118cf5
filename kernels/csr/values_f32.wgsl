// Items of f32 weights: one column, BLOCK_ROWS rows.
@group(0) @binding(7) var<storage, read> values: array<f32>;

/// Which element of a row of A an item multiplies.
fn element_of(item: u32) -> u32 {
  return column_at(item);
}

/// The weight of an item in row r.
fn value_of(item: u32, r: u32) -> f32 {
  return values[item * BLOCK_ROWS + r % BLOCK_ROWS];
}
