// planes[image, c, y, x] = activation[image, y - padTop, x - padLeft, c], or padding outside: NHWC to padded NCHW
//
// So that threads which compute neighbouring pixels read neighbouring elements, and no window leaves the plane. Linear
// is one image of 1 x M pixels. A workgroup turns SIDE pixels x SIDE channels around in workgroup memory.
//
// Bindings: planes; params. Needs: Element, activation, padding.
// Constants: CHANNELS = elements of a pixel in a group; PLANES = those of all groups.
struct Params {
  images: u32,
  height: u32,
  width: u32,
  padTop: u32,
  padLeft: u32,
  paddedHeight: u32,
  paddedWidth: u32,
}
@group(0) @binding(8) var<storage, read_write> planes: array<Element>;
@group(0) @binding(9) var<uniform> params: Params;

const SIDE = 16u;
const TILES_C = (PLANES + SIDE - 1u) / SIDE;

var<workgroup> block: array<Element, SIDE * (SIDE + 1u)>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) id: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let plane = params.paddedHeight * params.paddedWidth;
  let tiles = (plane + SIDE - 1u) / SIDE;
  let job = id.x + id.y * grid.x;
  let c0 = job % TILES_C * SIDE;
  let p0 = job / TILES_C % tiles * SIDE;
  let image = job / (TILES_C * tiles);
  if (image >= params.images) {
    return;
  }
  let minor = lane % SIDE;
  let major = lane / SIDE;

  let pixel = p0 + major;
  // Wrap below 0, so that one comparison finds what is outside.
  let y = pixel / params.paddedWidth - params.padTop;
  let x = pixel % params.paddedWidth - params.padLeft;
  var value = padding(image, (c0 + minor) % CHANNELS);
  if (y < params.height && x < params.width && c0 + minor < PLANES) {
    value = activation(((image * params.height + y) * params.width + x) * PLANES + c0 + minor);
  }
  block[major * (SIDE + 1u) + minor] = value;
  workgroupBarrier();
  if (c0 + major < PLANES && p0 + minor < plane) {
    planes[(image * PLANES + c0 + major) * plane + p0 + minor] = block[minor * (SIDE + 1u) + major];
  }
}
