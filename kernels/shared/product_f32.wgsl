// Products of f32 activations and weights.

/// sums + a * w, for one activation and the weights of four rows.
fn multiply_add(sums: vec4<f32>, a: f32, w: vec4<f32>) -> vec4<f32> {
  return sums + a * w;
}

/// sum + the products of four consecutive k.
fn dot_add(sum: f32, a: vec4<f32>, w: vec4<f32>) -> f32 {
  return sum + dot(a, w);
}

/// sum + one product.
fn add_product(sum: f32, a: f32, w: f32) -> f32 {
  return sum + a * w;
}
