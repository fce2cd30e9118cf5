// Products of four signed bytes of activations and weights at once, with the GPU's packed dot product.
fn multiply_add(sums: vec4<i32>, a: u32, w: vec4<u32>) -> vec4<i32> {
  return sums + vec4<i32>(
    dot4I8Packed(a, w.x),
    dot4I8Packed(a, w.y),
    dot4I8Packed(a, w.z),
    dot4I8Packed(a, w.w),
  );
}

fn add_product(sum: i32, a: u32, w: u32) -> i32 {
  return sum + dot4I8Packed(a, w);
}

fn dot_add(sum: i32, a: vec4<u32>, w: vec4<u32>) -> i32 {
  return sum + dot4I8Packed(a.x, w.x) + dot4I8Packed(a.y, w.y) + dot4I8Packed(a.z, w.z) + dot4I8Packed(a.w, w.w);
}
