// From the number of signs that differ to an output: activate(f32(sum) * scale[r] + bias[r]).
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;

fn finish(mismatches: i32, m: u32, r: u32) -> f32 {
  return activate(f32(sum_of(mismatches, m, r)) * scale[r] + bias[r]);
}
