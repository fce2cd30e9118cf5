// output[o, i, n] = input[o, input2[i], n] of bytes, as gather/gather.wgsl. Constants: SIZE, COUNT, INNER. Needs: words.wgsl.
@group(0) @binding(1) var<storage, read> input2: array<f32>;

fn prepare(lane: u32) {}

fn byte_of(at: u32) -> u32 {
  let row = at / INNER;
  let given = input2[row % COUNT];
  let last = f32(SIZE) - 1.0;
  let index = u32(clamp(select(given, given + f32(SIZE), given < 0.0), 0.0, last));
  return input_byte((row / COUNT * SIZE + min(index, SIZE - 1u)) * INNER + at % INNER);
}
