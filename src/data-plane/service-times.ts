/** How long a service's recent responses took, so that a check can say where the time goes. */

/** The weight of the newest exchange: about the last forty count. */
const WEIGHT = 0.05;

export class ServiceTimes {
  count = 0;
  /** Arrival of the request to the upstream's headers, ms: a moving mean. */
  toHeadersMs = 0;
  /** The headers to the end of the body, ms: a moving mean. */
  bodyMs = 0;

  note(toHeadersMs: number, bodyMs: number): void {
    const weight = Math.max(WEIGHT, 1 / ++this.count);
    this.toHeadersMs += weight * (toHeadersMs - this.toHeadersMs);
    this.bodyMs += weight * (bodyMs - this.bodyMs);
  }
}
