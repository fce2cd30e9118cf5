// Starts the browser that tests and benchmarks run in.
import puppeteer, { type Browser } from 'puppeteer';

/** Headless, WebGPU on, nothing sent anywhere. WebGPU runs on SwiftShader unless another adapter is named. */
export function launch(
  executablePath: string,
  { adapter = 'swiftshader', args = [] as string[] } = {},
): Promise<Browser> {
  return puppeteer.launch({
    executablePath,
    headless: true,
    args: [
      '--enable-unsafe-webgpu',
      // SwiftShader takes seconds to compile the zeroing of workgroup memory, which no kernel relies on.
      ...(adapter === 'swiftshader' ? ['--enable-dawn-features=disable_workgroup_init'] : []),
      ...(adapter ? [`--use-webgpu-adapter=${adapter}`] : []),
      // Chrome's sandbox refuses to run as root, which containers are.
      ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-first-run',
      '--disable-quic',
      ...args,
    ],
  });
}
