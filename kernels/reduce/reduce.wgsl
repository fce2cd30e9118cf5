// output[o, n] = reduction over i of input[o, i, n], by its number in REDUCTIONS of src/plan/problem.ts
//
// PARTS threads of a workgroup share one output: 64 where a row lies in one piece (INNER = 1), so that they read it side
// by side; else 1, and neighbours do so by themselves.
//
// Bindings: input [outer, SIZE, INNER], output [outer, INNER]; params.size = elements of output.
// Constants: REDUCTION, SIZE, INNER, PARTS. Needs: nan.wgsl.
struct Params {
  size: u32,
}
@group(0) @binding(0) var<storage, read> input: array<f32>;
@group(0) @binding(1) var<storage, read_write> output: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

const THREADS = 64u;
const LARGEST = 0x1.fffffep+127f;

/// What has been reduced: a value and, for argMax and argMin, where it is.
struct Part {
  value: f32,
  at: u32,
}
var<workgroup> parts: array<Part, THREADS>;

fn lift(x: f32, at: u32) -> Part {
  return Part(select(x, x * x, REDUCTION == 5u || REDUCTION == 6u), at);
}

fn join(a: Part, b: Part) -> Part {
  switch REDUCTION {
    case 2u, 3u, 7u, 8u: {
      let largest = REDUCTION == 2u || REDUCTION == 7u;
      let better = (largest && b.value > a.value) || (!largest && b.value < a.value);
      let earlier = b.value == a.value && b.at < a.at;
      if (is_nan(a.value) || is_nan(b.value)) {
        if (is_nan(a.value) && is_nan(b.value)) {
          return Part(a.value, min(a.at, b.at));
        }
        return Part(select(b.value, a.value, is_nan(a.value)), select(b.at, a.at, is_nan(a.value)));
      }
      return Part(select(a.value, b.value, better), select(a.at, b.at, better || earlier));
    }
    case 4u: { return Part(a.value * b.value, 0u); }
    default: { return Part(a.value + b.value, 0u); }
  }
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) id: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let group = id.x + id.y * grid.x;
  let out = select(group * THREADS + lane, group, PARTS == THREADS);
  let start = out / INNER * SIZE * INNER + out % INNER;
  let first = select(0u, lane, PARTS == THREADS);
  // Lanes past the end of a short row repeat its first element where that changes nothing.
  var part = lift(select(0.0, 1.0, REDUCTION == 4u), 0u);
  if (REDUCTION == 2u || REDUCTION == 3u || REDUCTION >= 7u) {
    part = lift(input[min(start, arrayLength(&input) - 1u)], 0u);
  }
  if (out < params.size) {
    for (var i = first; i < SIZE; i += PARTS) {
      part = join(part, lift(input[start + i * INNER], i));
    }
  }
  if (PARTS == THREADS) {
    parts[lane] = part;
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
      workgroupBarrier();
      if (lane < half) {
        parts[lane] = join(parts[lane], parts[lane + half]);
      }
    }
    part = parts[0];
    if (lane > 0u) {
      return;
    }
  }
  if (out < params.size) {
    switch REDUCTION {
      case 1u: { output[out] = part.value / f32(SIZE); }
      case 6u: { output[out] = sqrt(part.value); }
      case 7u, 8u: { output[out] = f32(part.at); }
      default: { output[out] = part.value; }
    }
  }
}
