// The quantisation of all samples, where it is given: (bits of scale, zero point of signed codes).
fn sample_of(s: u32) -> vec2<u32> {
  return vec2<u32>(GIVEN_SCALE, GIVEN_ZERO);
}
