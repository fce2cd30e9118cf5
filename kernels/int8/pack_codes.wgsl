// words[pixel, group, c / 4], byte c % 4 = code input[pixel, group, c] as a signed byte; 0 beyond the channels
//
// For pixels and groups that do not fill whole words: four bytes are gathered from two words of the input.
//
// Bindings: input [pixels, GROUPS * CHANNELS] bytes; words; params.words = pixels * GROUPS * WORDS.
// Constants: CHANNELS = channels of a pixel in a group; WORDS = ceil(CHANNELS / 4); TAIL_MASK = the bytes of a pixel's last
// word that hold channels; FLIP = 0x80808080 for unsigned codes.
struct Params {
  words: u32,
}
@group(0) @binding(0) var<storage, read> input: array<u32>;
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
  let at = i / WORDS * CHANNELS + i % WORDS * 4u;
  var word = input[at / 4u];
  let shift = at % 4u * 8u;
  if (shift > 0u) {
    // Past the input's end only bytes that the mask takes away.
    word = (word >> shift) | (input[at / 4u + 1u] << (32u - shift));
  }
  words[i] = (word ^ FLIP) & select(0xffffffffu, TAIL_MASK, i % WORDS == WORDS - 1u);
}
