// Activations that are words of codes or signs as they arrive, read four at a time: every row and pixel of a group starts
// at a multiple of 4 words. FLIP makes codes signed bytes. Products are summed in i32.
@group(0) @binding(0) var<storage, read> input: array<vec4<u32>>;

alias Element = u32;
alias Sum = i32;

fn activation(i: u32) -> u32 {
  return input[i / 4u][i % 4u] ^ FLIP;
}

fn activation_quad(i: u32) -> vec4<u32> {
  return input[i / 4u] ^ vec4<u32>(FLIP);
}
