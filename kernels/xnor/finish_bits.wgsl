// From the number of signs that differ to a sign of the output, 1 where sum >= bias[r]: the thresholds of signThreshold in
// src/formats/outputs.ts, which have scale and bias in them.
@group(0) @binding(3) var<storage, read> bias: array<i32>;

fn finish(mismatches: i32, m: u32, r: u32) -> i32 {
  return i32(sum_of(mismatches, m, r) >= bias[r]);
}
