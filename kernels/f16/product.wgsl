// Products of f16 activations and weights, which f32 holds exactly.

/// sums + a * w, for one activation and the weights of four rows.
fn multiply_add(sums: vec4<f32>, a: f16, w: vec4<f16>) -> vec4<f32> {
  return sums + f32(a) * vec4<f32>(w);
}

/// sum + the products of four consecutive k.
fn dot_add(sum: f32, a: vec4<f16>, w: vec4<f16>) -> f32 {
  return sum + dot(vec4<f32>(a), vec4<f32>(w));
}
