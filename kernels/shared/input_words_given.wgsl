// Activations that are words of codes or signs as they arrive: every row and pixel of a group starts one, and fills it.
// FLIP makes codes signed bytes. Products are summed in i32.
@group(0) @binding(0) var<storage, read> input: array<u32>;

alias Element = u32;
alias Sum = i32;

fn activation(i: u32) -> u32 {
  return input[i] ^ FLIP;
}

fn activation_quad(i: u32) -> vec4<u32> {
  return vec4<u32>(input[i], input[i + 1u], input[i + 2u], input[i + 3u]) ^ vec4<u32>(FLIP);
}
