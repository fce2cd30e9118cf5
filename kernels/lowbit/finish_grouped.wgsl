// From a total over scaled groups to an output: activate(total * activation scale + bias[r]), or NaN where the sample's
// scale is NaN: copied by its bits, since compilers may assume that floats are never NaN.
// Constants: ROWS_PER_SAMPLE. Needs: sample_of, activate.wgsl.
@group(0) @binding(4) var<storage, read> bias: array<f32>;

fn finish(total: f32, m: u32, r: u32) -> f32 {
  let scale = sample_of(m / ROWS_PER_SAMPLE).x;
  let y = activate(total * bitcast<f32>(scale) + bias[r]);
  return bitcast<f32>(select(bitcast<u32>(y), scale, (scale & 0x7fffffffu) > 0x7f800000u));
}
