// Signs of f32 activations, read from the bits, where -0 counts as 0 and NaN as negative, as in the format.
// Constants: CHANNELS = channels of a pixel in a group.
@group(0) @binding(0) var<storage, read> input: array<u32>;

/// 1 where channel c of a group of a pixel is >= 0; part = pixel * GROUPS + group.
fn sign_of(part: u32, c: u32) -> u32 {
  let value = input[part * CHANNELS + c];
  return u32(value <= 0x7f800000u || value == 0x80000000u);
}
