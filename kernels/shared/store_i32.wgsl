// Outputs of i32, OUTPUTS to a row of A.
@group(0) @binding(8) var<storage, read_write> output: array<i32>;

alias Output = i32;

fn store(m: u32, r: u32, value: i32) {
  output[m * OUTPUTS + r] = value;
}

/// Output m, r and the count - 1 (0 .. 3) that follow it.
fn store_quad(m: u32, r: u32, values: vec4<i32>, count: u32) {
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
