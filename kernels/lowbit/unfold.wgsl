// unfolded[m, group, i], byte b = byte of the activation code A[m, 4 * i + b]; 0 beyond the row's columns
//
// Rows of A without gaps, for groups of columns that would begin inside a word: pixels of conv2d whose channels are no
// multiple of 4 end in the middle of one.
//
// Bindings: words, samples (through the snippets); unfolded [M, GROUPS, ROW_WORDS]; params.M.
// Constants: GROUPS, CHANNELS = words of a pixel in a group; PIXEL_CHANNELS = channels of those; COLUMNS = columns of a
// row; ROW_WORDS = ceil(COLUMNS / 4); THREADS.
struct Params {
  M: u32,
}
@group(0) @binding(8) var<storage, read_write> unfolded: array<u32>;
@group(0) @binding(9) var<uniform> params: Params;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) id: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (id.x + id.y * grid.x) * THREADS + lane;
  let r = i / ROW_WORDS;
  if (r >= params.M * GROUPS) {
    return;
  }
  let row = row_at(r / GROUPS, r % GROUPS);
  var word = 0u;
  for (var b = 0u; b < 4u; b++) {
    let k = i % ROW_WORDS * 4u + b;
    if (k < COLUMNS) {
      let c = k % PIXEL_CHANNELS;
      let codes = row_element(row, k / PIXEL_CHANNELS * CHANNELS + c / 4u);
      word |= extractBits(codes, c % 4u * 8u, 8u) << (8u * b);
    }
  }
  unfolded[i] = word;
}
