// output[o, i, n] = input[o, table[i], n] of bytes. Constants: IN_SIZE, OUT_SIZE, INNER. Needs: words.wgsl.
fn prepare(lane: u32) {}

fn byte_of(at: u32) -> u32 {
  let row = at / INNER;
  return input_byte((row / OUT_SIZE * IN_SIZE + table_at(row % OUT_SIZE)) * INNER + at % INNER);
}
