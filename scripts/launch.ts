// Starts the browser that tests and benchmarks run in.
import puppeteer, { type Browser } from 'puppeteer';
import { chromeFlags } from '../src/bench/drive/flags.js';

/** Headless, WebGPU on, nothing sent anywhere. WebGPU runs on SwiftShader unless another adapter is named. */
export function launch(
  executablePath: string,
  { adapter = 'swiftshader', args = [] as string[] } = {},
): Promise<Browser> {
  return puppeteer.launch({
    executablePath,
    headless: true,
    args: [
      ...chromeFlags(),
      // SwiftShader takes seconds to compile the zeroing of workgroup memory, which no kernel relies on.
      ...(adapter === 'swiftshader' ? ['--enable-dawn-features=disable_workgroup_init'] : []),
      ...(adapter ? [`--use-webgpu-adapter=${adapter}`] : []),
      ...args,
    ],
  });
}
