/**
 * Whether tests that need a capability can run here. Where it is missing they are skipped and say why; on CI
 * every capability must be there, so that a skipped test cannot pass for a run one.
 * @param name what is needed, e.g. `webgpu`
 * @param reason why it is missing
 */
export function requireCapability(name: string, available: boolean, reason: string): boolean {
  if (available) return true;
  if (process.env.CI) throw new Error(`${name} is missing on CI: ${reason}`);
  console.log(`skipped what needs ${name}: ${reason}`);
  return false;
}
