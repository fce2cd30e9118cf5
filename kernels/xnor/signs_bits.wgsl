// Signs that arrive as bits, for groups that begin inside a word: only pixels start one.
// Constants: CHANNELS = channels of a pixel in a group; GROUPS.
@group(0) @binding(0) var<storage, read> input: array<u32>;

/// 1 where channel c of a group of a pixel is >= 0; part = pixel * GROUPS + group.
fn sign_of(part: u32, c: u32) -> u32 {
  let channel = part % GROUPS * CHANNELS + c;
  return extractBits(input[part / GROUPS * ((GROUPS * CHANNELS + 31u) / 32u) + channel / 32u], channel % 32u, 1u);
}
