// Weights as signed bytes: code - zero point, four at a time. No byte borrows from its neighbour: 128 is added first,
// and taken away by its bit.
fn differences(codes: vec4<u32>, zero_point: u32) -> vec4<u32> {
  let high = vec4<u32>(0x80808080u);
  return ((codes | high) - vec4<u32>(zero_point * 0x01010101u)) ^ high;
}

fn load_weights(lane: u32) {}
