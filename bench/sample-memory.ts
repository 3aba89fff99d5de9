/** Samples the resident memory of a process during a transfer. */
import { setTimeout as delay } from "node:timers/promises";
import { residentBytes } from "./process-accounting.ts";

const SAMPLE_MS = 50;
const REST_MS = 1000;

export interface MemorySample {
  /** Peak during the transfer, above its value just before, in bytes. */
  readonly growthBytes: number;
  readonly seconds: number;
}

export async function sampleMemory(pid: number, transfer: () => Promise<void>): Promise<MemorySample> {
  await delay(REST_MS);
  const idle = residentBytes(pid);
  let peak = idle;
  const sample = () => {
    peak = Math.max(peak, residentBytes(pid));
  };
  const timer = setInterval(sample, SAMPLE_MS);
  const started = performance.now();
  try {
    await transfer();
  } finally {
    clearInterval(timer);
  }
  const seconds = (performance.now() - started) / 1000;
  sample();
  return { growthBytes: peak - idle, seconds };
}
