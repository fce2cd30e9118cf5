// output[o, i, n] = input[o, input2[i], n], one element a thread. Indices from the end are negative; those out of range,
// which only the data of a run can be, read the nearest row. Elements of input
// have 4 bytes, which are moved as they are.
//
// Bindings: input [outer, SIZE, INNER], input2 [COUNT], output [outer, COUNT, INNER]; params.size = elements of output.
struct Params {
  size: u32,
}
@group(0) @binding(0) var<storage, read> input: array<u32>;
@group(0) @binding(1) var<storage, read> input2: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

const THREADS = 64u;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) id: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let at = (id.x + id.y * grid.x) * THREADS + lane;
  if (at >= params.size) {
    return;
  }
  let row = at / INNER;
  let given = input2[row % COUNT];
  let last = f32(SIZE) - 1.0;
  let index = u32(clamp(select(given, given + f32(SIZE), given < 0.0), 0.0, last));
  output[at] = input[(row / COUNT * SIZE + min(index, SIZE - 1u)) * INNER + at % INNER];
}
