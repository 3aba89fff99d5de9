/**
 * Repeats a step until there is nothing left to do.
 * Invariant: one run at a time; a call during a run makes the step look once more, so that no change is missed.
 */
export class Pump {
  /** @returns whether there may be more to do. */
  readonly #step: () => Promise<boolean>;
  #running: Promise<void> | undefined;
  #isCalled = false;

  constructor(step: () => Promise<boolean>) {
    this.#step = step;
  }

  /** Resolves when there is nothing left; rejects as the step does. */
  run(): Promise<void> {
    this.#isCalled = true;
    this.#running ??= this.#runAll();
    return this.#running;
  }

  async #runAll(): Promise<void> {
    try {
      while (this.#isCalled) {
        this.#isCalled = false;
        while (await this.#step());
      }
    } finally {
      // In the same tick as the last check, so that a later call starts a new run.
      this.#running = undefined;
    }
  }
}
