// partial[s, part] = (min, max) of part `part` of sample s, each below 0 or above 0 as far as 0
//
// One workgroup a part. Floats are compared as integers of the same order (`ordered`), under which NaN lies beyond
// the infinities: whoever reads the range finds it.
//
// Bindings: input [samples, SAMPLE_SIZE] f32; partial [samples, PARTS] of two ordered i32; params.samples.
// Constants: SAMPLE_SIZE; PARTS; PART_SIZE = ceil(SAMPLE_SIZE / PARTS).
struct Params {
  samples: u32,
}
@group(0) @binding(0) var<storage, read> input: array<u32>;
@group(0) @binding(1) var<storage, read_write> partial: array<vec2<i32>>;
@group(0) @binding(2) var<uniform> params: Params;

const THREADS = 256u;

var<workgroup> low: array<i32, THREADS>;
var<workgroup> high: array<i32, THREADS>;

/// An integer that is ordered as the float of these bits; its own inverse.
fn ordered(bits: u32) -> i32 {
  let value = bitcast<i32>(bits);
  return select(value, value ^ 0x7fffffff, value < 0);
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) id: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let job = id.x + id.y * grid.x;
  let sample = job / PARTS;
  if (sample >= params.samples) {
    return;
  }
  let first = job % PARTS * PART_SIZE;
  let end = min(first + PART_SIZE, SAMPLE_SIZE);
  var least = 0;
  var most = 0;
  for (var i = first + lane; i < end; i += THREADS) {
    let value = ordered(input[sample * SAMPLE_SIZE + i]);
    least = min(least, value);
    most = max(most, value);
  }
  low[lane] = least;
  high[lane] = most;
  for (var half = THREADS / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      low[lane] = min(low[lane], low[lane + half]);
      high[lane] = max(high[lane], high[lane + half]);
    }
  }
  if (lane == 0u) {
    partial[job] = vec2<i32>(low[0], high[0]);
  }
}
