// words[pixel, group, c / 4], byte c % 4 = the code of input[pixel, group, c] under a given quantisation, as a signed
// byte; 0 beyond the channels
//
// Bindings: input [pixels, GROUPS * CHANNELS] f32; words; params.words = pixels * GROUPS * WORDS, params.least.
// Constants: CHANNELS = channels of a pixel in a group; WORDS = ceil(CHANNELS / 4). Needs: codes/code_of.wgsl.
struct Params {
  words: u32,
  least: array<vec4<i32>, 64>,
}
@group(0) @binding(0) var<storage, read> input: array<u32>;
@group(0) @binding(1) var<storage, read_write> words: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

const THREADS = 64u;
/// Words of a workgroup.
const BLOCK = 256u;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) id: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  for (var i = 0u; i < 4u; i++) {
    least[4u * lane + i] = params.least[lane][i];
  }
  workgroupBarrier();
  let first = (id.x + id.y * grid.x) * BLOCK;
  for (var i = first + lane; i < min(first + BLOCK, params.words); i += THREADS) {
    let c = i % WORDS * 4u;
    let address = i / WORDS * CHANNELS + c;
    var word = 0u;
    for (var byte = 0u; byte < 4u; byte++) {
      if (c + byte < CHANNELS) {
        word |= (code_of(input[address + byte]) ^ 0x80u) << (8u * byte);
      }
    }
    words[i] = word;
  }
}
