// A code for each code. table: 256 bytes, that of byte b at b. Needs: words.wgsl.
fn prepare(lane: u32) {}

fn byte_of(i: u32) -> u32 {
  let code = input_byte(i);
  return extractBits(table_at(code / 4u), code % 4u * 8u, 8u);
}
