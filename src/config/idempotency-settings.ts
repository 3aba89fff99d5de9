/** The `idempotency` settings of a service. */
import { z } from "zod";

export interface IdempotencySettings {
  readonly ttlSeconds: number;
  readonly maxBodyBytes: number;
}

const DEFAULTS: IdempotencySettings = { ttlSeconds: 600, maxBodyBytes: 1_048_576 };

export const idempotencySettings = z.union([
  z.boolean(),
  z.strictObject({
    ttlSeconds: z
      .int()
      .min(1)
      .max(86_400)
      .default(DEFAULTS.ttlSeconds)
      .describe("how long a key is remembered after its response, and after a request without a known outcome"),
    maxBodyBytes: z
      .int()
      .min(1_024)
      .max(8_388_608)
      .default(DEFAULTS.maxBodyBytes)
      .describe("largest body of a request with a key, and largest body of a response that is kept for replays"),
  }),
]);

/** @returns undefined where it is off. */
export function completeIdempotency(value: z.output<typeof idempotencySettings>): IdempotencySettings | undefined {
  if (value === false) return undefined;
  return value === true ? DEFAULTS : value;
}
