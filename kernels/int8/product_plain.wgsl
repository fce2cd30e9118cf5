// Products of four signed bytes of activations and weights at once, with core WGSL alone.
fn bytes_of(word: u32) -> vec4<i32> {
  let value = bitcast<i32>(word);
  return vec4<i32>(value << 24u, value << 16u, value << 8u, value) >> vec4<u32>(24u);
}

fn multiply_add(sums: vec4<i32>, a: u32, w: vec4<u32>) -> vec4<i32> {
  let bytes = bytes_of(a);
  return sums + vec4<i32>(
    dot(bytes, bytes_of(w.x)),
    dot(bytes, bytes_of(w.y)),
    dot(bytes, bytes_of(w.z)),
    dot(bytes, bytes_of(w.w)),
  );
}

fn add_product(sum: i32, a: u32, w: u32) -> i32 {
  return sum + dot(bytes_of(a), bytes_of(w));
}

fn dot_add(sum: i32, a: vec4<u32>, w: vec4<u32>) -> i32 {
  return sum + dot(bytes_of(a.x), bytes_of(w.x)) + dot(bytes_of(a.y), bytes_of(w.y)) +
    dot(bytes_of(a.z), bytes_of(w.z)) + dot(bytes_of(a.w), bytes_of(w.w));
}
