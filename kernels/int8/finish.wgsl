// From an integer sum to an output. With codes a = activation code - 128, w = weight code and zero points za, zw:
//   sum over k of (a - za) (w - zw) = sum of a w - za * (sum of w - K zw) - zw * sum of a
// where facts[r] = (bits of scale, sum of w - K zw, zw, 0). The result is
//   activate(f32(that) * (activation scale * weight scale) + bias[r]),
// or NaN where the sample's scale is NaN: copied by its bits, since compilers may assume that floats are never NaN.
// Constants: ROWS_PER_SAMPLE; N. Needs: sample_of, row_sum, activate.wgsl.
@group(0) @binding(3) var<storage, read> facts: array<vec4<i32>>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;

fn finish(sum: i32, m: u32, r: u32) -> f32 {
  let sample = sample_of(m / ROWS_PER_SAMPLE);
  let fact = facts[r];
  let total = sum - bitcast<i32>(sample.y) * fact.y - fact.z * row_sum(m, r / N);
  let scale = bitcast<f32>(sample.x) * bitcast<f32>(fact.x);
  let y = activate(f32(total) * scale + bias[r]);
  return bitcast<f32>(select(bitcast<u32>(y), sample.x, (sample.x & 0x7fffffffu) > 0x7f800000u));
}
