// Outputs of f32, OUTPUTS to a row of A.
@group(0) @binding(8) var<storage, read_write> output: array<f32>;

alias Output = f32;

fn store(m: u32, r: u32, value: f32) {
  output[m * OUTPUTS + r] = value;
}

/// Output m, r and the count - 1 (0 .. 3) that follow it.
fn store_quad(m: u32, r: u32, values: vec4<f32>, count: u32) {
  let at = m * OUTPUTS + r;
  output[at] = values.x;
  if (count > 1u) {
    output[at + 1u] = values.y;
  }
  if (count > 2u) {
    output[at + 2u] = values.z;
  }
  if (count > 3u) {
    output[at + 3u] = values.w;
  }
}
