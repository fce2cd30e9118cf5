// words[pixel, group, c / 32], bit c % 32 = 1 where input[pixel, group, c] >= 0; 0 beyond the channels
//
// One word a thread.
//
// Bindings: input (through sign_of); words; params.words = pixels * GROUPS * WORDS.
// Constants: CHANNELS = channels of a pixel in a group; WORDS = ceil(CHANNELS / 32).
struct Params {
  words: u32,
}
@group(0) @binding(1) var<storage, read_write> words: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

const THREADS = 64u;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) id: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (id.x + id.y * grid.x) * THREADS + lane;
  if (i >= params.words) {
    return;
  }
  let c = i % WORDS * 32u;
  let count = min(32u, CHANNELS - c);
  var word = 0u;
  for (var bit = 0u; bit < count; bit++) {
    word |= sign_of(i / WORDS, c + bit) << bit;
  }
  words[i] = word;
}
