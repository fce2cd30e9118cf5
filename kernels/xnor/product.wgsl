// Products of 32 signs at once, as the number of signs that differ; and from that number to a sum:
//   sum of products = K - 2 * mismatches
// Outside the image a window reads +1. Where it should add nothing (ZERO_PADDING), sum_of takes the weights of those
// taps out again: only outputs at the border pay for it.
// Constants: K = signs of a row; PIXEL_SIGNS = channels of a pixel in a group; CHANNELS = words of those; TAPS;
// TAIL_MASK = the bits of a pixel's last word that hold channels; ZERO_PADDING: bool.

fn multiply_add(sums: vec4<i32>, a: u32, w: vec4<u32>) -> vec4<i32> {
  return sums + vec4<i32>(countOneBits(vec4<u32>(a) ^ w));
}

fn dot_add(sum: i32, a: vec4<u32>, w: vec4<u32>) -> i32 {
  let differ = vec4<i32>(countOneBits(a ^ w));
  return sum + differ.x + differ.y + differ.z + differ.w;
}

fn padding(image: u32, c: u32) -> u32 {
  return select(0xffffffffu, TAIL_MASK, c == CHANNELS - 1u);
}

/// Sum of the weights of one tap of row r.
fn tap_sum(r: u32, tap: u32) -> i32 {
  var ones = 0u;
  for (var k = tap * CHANNELS; k < (tap + 1u) * CHANNELS; k++) {
    ones += countOneBits(weights[r * QUADS + k / 4u][k % 4u]);
  }
  return 2 * i32(ones) - i32(PIXEL_SIGNS);
}

fn sum_of(mismatches: i32, m: u32, r: u32) -> i32 {
  var sum = i32(K) - 2 * mismatches;
  if (ZERO_PADDING) {
    for (var tap = 0u; tap < TAPS; tap++) {
      if (is_padding(m, tap)) {
        sum -= tap_sum(r, tap);
      }
    }
  }
  return sum;
}
