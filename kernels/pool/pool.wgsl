// Pooling over NHWC images, one output a thread. Output pixel (image, oy, ox), channel c, taps (ky, kx) at
//   y = oy * STRIDE_HEIGHT + ky * DILATION_HEIGHT - PAD_TOP,  x alike
// maximum: over the taps inside the image; NaN if one is; -inf if there is none.
// average: sum over the taps inside the image, divided by their number, or (COUNT_PADDING) by the number of taps inside
// the padded image; 0 if that is none.
//
// Bindings: input [images, IN_HEIGHT, IN_WIDTH, CHANNELS]; output [images, OUT_HEIGHT, OUT_WIDTH, CHANNELS]; params.
// Constants: the window; CHANNELS; MAXIMUM, COUNT_PADDING: bool; PAD_BOTTOM, PAD_RIGHT. Needs: nan.wgsl.
struct Params {
  /// Elements of the output.
  size: u32,
  /// Bits of -inf, which WGSL has no literal for.
  lowest: u32,
}
@group(0) @binding(0) var<storage, read> input: array<f32>;
@group(0) @binding(1) var<storage, read_write> output: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

const THREADS = 64u;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) id: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (id.x + id.y * grid.x) * THREADS + lane;
  if (i >= params.size) {
    return;
  }
  let c = i % CHANNELS;
  let ox = i / CHANNELS % OUT_WIDTH;
  let oy = i / (CHANNELS * OUT_WIDTH) % OUT_HEIGHT;
  let image = i / (CHANNELS * OUT_WIDTH * OUT_HEIGHT);

  var best = bitcast<f32>(params.lowest);
  var sum = 0.0;
  var count = 0u;
  for (var ky = 0u; ky < KERNEL_HEIGHT; ky++) {
    // In the padded image; less the padding it wraps below 0, so that one comparison finds what is outside.
    let py = oy * STRIDE_HEIGHT + ky * DILATION_HEIGHT;
    let y = py - PAD_TOP;
    for (var kx = 0u; kx < KERNEL_WIDTH; kx++) {
      let px = ox * STRIDE_WIDTH + kx * DILATION_WIDTH;
      let x = px - PAD_LEFT;
      if (y < IN_HEIGHT && x < IN_WIDTH) {
        let value = input[((image * IN_HEIGHT + y) * IN_WIDTH + x) * CHANNELS + c];
        if (is_nan(value) || value > best) {
          best = value;
        }
        sum += value;
        count++;
      } else if (COUNT_PADDING && py < PAD_TOP + IN_HEIGHT + PAD_BOTTOM && px < PAD_LEFT + IN_WIDTH + PAD_RIGHT) {
        count++;
      }
    }
  }
  if (MAXIMUM) {
    output[i] = best;
  } else {
    output[i] = sum / f32(max(count, 1u));
  }
}
