// Zero points of weights with one group a row: ZERO, or of the row in facts (finish.wgsl) where ZERO is 255.
fn zero_point(r: u32, k: u32) -> u32 {
  if (ZERO < 255u) {
    return ZERO;
  }
  return bitcast<u32>(facts[r].w);
}
