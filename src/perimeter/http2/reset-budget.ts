/**
 * Counts the streams of one connection that ended before their response. Each costs the gateway and an upstream a request, and its
 * client nothing (CVE-2023-44487); an error that a client provokes does the same (CVE-2025-8671).
 */
import { RESET_BURST, RESETS_PER_SECOND } from "./limits.ts";

export class ResetBudget {
  #left = RESET_BURST;
  #countedAt = performance.now();

  /** Notes one. @returns false where it is one too many. */
  take(): boolean {
    const now = performance.now();
    this.#left = Math.min(RESET_BURST, this.#left + ((now - this.#countedAt) / 1_000) * RESETS_PER_SECOND);
    this.#countedAt = now;
    this.#left -= 1;
    return this.#left >= 0;
  }
}
