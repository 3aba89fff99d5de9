/**
 * A claim that this process won, until its request is over.
 * Invariant: its lease does not end while the request runs, and what happens to it first counts: released, completed, or left as it is,
 * because the outcome is unknown.
 */
import type { KeptResponse } from "../../stores/claims.ts";
import type { ServiceIdempotency } from "./service-idempotency.ts";

/** Of all services together. */
const ARRIVING_BYTES_LIMIT = 32 * 1_048_576;

export class HeldClaim {
  readonly idempotency: ServiceIdempotency;
  readonly #key: string;
  readonly #fence: number;
  readonly #onError: (error: unknown) => void;
  readonly #timer: NodeJS.Timeout;
  #isSettled = false;

  /** @param onError called when the store fails after the claim was won. */
  constructor(idempotency: ServiceIdempotency, key: string, fence: number, onError: (error: unknown) => void) {
    this.idempotency = idempotency;
    this.#key = key;
    this.#fence = fence;
    this.#onError = onError;
    const { context, settings } = idempotency;
    context.running.add(key);
    const renew = () => this.#ask(context.claims.renew(key, fence, idempotency.end(), idempotency.now()));
    this.#timer = setInterval(renew, settings.ttlSeconds * 500);
    this.#timer.unref();
  }

  /** The request was not sent, or not executed. */
  release(): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    const { context } = this.idempotency;
    this.#ask(context.claims.release(this.#key, this.#fence, this.idempotency.now()));
    this.end();
  }

  /** The upstream responded. @param response undefined where it is not kept. */
  complete(response: KeptResponse | undefined): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    const { context } = this.idempotency;
    const result = { response, until: this.idempotency.end() };
    this.#ask(context.claims.complete(this.#key, this.#fence, result, this.idempotency.now()));
    this.end();
  }

  /** The request is over; without a result its outcome is unknown, and the claim ends with its lease. */
  end(): void {
    clearInterval(this.#timer);
    if (this.#isSettled) return void this.idempotency.context.running.delete(this.#key);
    this.#isSettled = true;
    this.idempotency.context.running.delete(this.#key);
  }

  /** Counts bytes of the response. @returns false where they cannot be kept. @param total of this response. */
  keeps(bytes: number, total: number): boolean {
    const { context, settings } = this.idempotency;
    context.arriving.bytes += bytes;
    return total <= settings.maxBodyBytes && context.arriving.bytes <= ARRIVING_BYTES_LIMIT;
  }

  forget(bytes: number): void {
    this.idempotency.context.arriving.bytes -= bytes;
  }

  #ask(change: Promise<boolean>): void {
    change.catch(this.#onError);
  }
}
